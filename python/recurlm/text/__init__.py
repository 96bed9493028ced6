"""Text in, token ids out: tokenizers, corpora on disk, contiguous streams."""
