"""The commands of the command line, a file for each purpose; ``__main__`` lists them."""
