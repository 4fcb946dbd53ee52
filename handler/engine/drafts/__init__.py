"""Draft tokens for speculative decoding, from text and markup."""
