"""Studies and runs against one another: the paper's table, paired tests, sentences, and their formats."""
