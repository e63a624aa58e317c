"""Audio in memory: decoding, resampling, front ends and augmentation, on batched tensors."""
