//! Each rule against an artifact that keeps it and one that does not.
