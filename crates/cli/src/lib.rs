//! The command line: what was typed, and how answers are shown.
