"""Tables of the documents, from the files in results/."""
