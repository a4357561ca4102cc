"""Images, videos and cameras in and out; paths and files."""
