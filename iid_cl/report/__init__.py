"""Reports of finished runs: tables in the terminal, pictures of memories, figures and the HTML page."""
