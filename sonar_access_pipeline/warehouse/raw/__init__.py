"""What was read, and what people said of it: snapshots, tries, archives, decisions, redaction."""
