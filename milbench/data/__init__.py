"""Tables -> bags -> batches."""
