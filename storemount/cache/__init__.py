"""What was read, kept: blocks in memory (`blocks`), blocks on the disk (`disk`), and how far to read ahead (`readahead`)."""
