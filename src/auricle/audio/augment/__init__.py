"""The augmentation chain of AudioMosaic."""
