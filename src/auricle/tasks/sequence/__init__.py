"""What is said: transcripts by CTC."""
