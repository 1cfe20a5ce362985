"""From a name to a store: what users registered, in storemount's own files or in ZenML's."""
