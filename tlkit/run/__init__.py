"""Jobs prepared, trained and continued, and prediction from a finished run. The only package that writes run folders while training."""
