"""Browser applications: the exported model page and the training page."""
