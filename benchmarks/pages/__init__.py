"""Tables of the documents, made from the files in results/."""
