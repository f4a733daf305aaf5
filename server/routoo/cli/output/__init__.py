"""What commands show: screens, numbers, progress, files, and errors as one line."""
