//! The rules of the house, as tests. Each rule is a pure function from text to findings, tried on
//! fixtures, and then held against the tree. A finding names the file, the line and the way out.

mod absences;
mod bans;
mod documents;
mod functions;
mod house;
mod layers;
mod leaks;
mod links;
mod panics;
mod reach;
mod readme;
mod scripts;
mod sources;
