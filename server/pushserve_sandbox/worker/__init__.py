"""Worker job: keeps one model loaded and answers frames."""
