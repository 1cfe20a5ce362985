"""What `storemount doctor` looks at: one module a subject, each a handful of small checks."""
