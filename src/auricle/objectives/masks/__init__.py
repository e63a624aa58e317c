"""Which tokens or samples are masked or corrupted."""
