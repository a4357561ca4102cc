"""Images, videos and files: what comes in and what goes out."""
