//! The text of a selector.

use std::collections::BTreeSet;

use super::{Operator, Requirement, Selector, SelectorError, wrong_key};
use crate::field::Path;

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Word,
    In,
    NotIn,
    Symbol(Symbol),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
}

const SYMBOLS: [(&str, Symbol); 9] = [
    ("(", Symbol::Open),
    (")", Symbol::Close),
    (",", Symbol::Comma),
    ("!", Symbol::Not),
    ("=", Symbol::Equals),
    ("==", Symbol::DoubleEquals),
    ("!=", Symbol::NotEquals),
    (">", Symbol::Greater),
    ("<", Symbol::Less),
];

const COMMA: Token = Token::Symbol(Symbol::Comma);
const CLOSE: Token = Token::Symbol(Symbol::Close);
const NOT: Token = Token::Symbol(Symbol::Not);

/// Reads a whole selector.
pub(super) fn selector(text: &str) -> Result<Selector, SelectorError> {
    let mut parser = Parser { pieces: pieces(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        let (token, literal) = parser.peek();
        match token {
            Token::Word | Token::Symbol(Symbol::Not) => {}
            Token::End => break,
            _ => return Err(found(&literal, ", expected: !, identifier, or 'end of string'")),
        }
        let requirement = parser.requirement();
        let requirement =
            requirement.map_err(|error| SelectorError(format!("unable to parse requirement: {error}")))?;
        requirements.push(requirement);
        let (token, literal) = parser.next();
        match token {
            Token::End => break,
            COMMA => {}
            _ => return Err(found(&literal, ", expected: ',' or 'end of string'")),
        }
        let (token, literal) = parser.peek();
        if !matches!(token, Token::Word | NOT) {
            return Err(found(&literal, ", expected: identifier after ','"));
        }
    }
    Ok(Selector::of(requirements))
}

fn found(literal: &str, expected: &str) -> SelectorError {
    SelectorError(format!("found '{literal}'{expected}"))
}

/// A text cut into pieces; what is read behind the last is [`Token::End`].
struct Parser<'a> {
    pieces: Vec<(Token, &'a str)>,
    at: usize,
}

impl Parser<'_> {
    /// The next piece, where a value may stand: `in` and `notin` are words there.
    fn peek(&self) -> (Token, String) {
        let (token, literal) = self.piece();
        (if matches!(token, Token::In | Token::NotIn) { Token::Word } else { token }, literal.into())
    }

    fn next(&mut self) -> (Token, String) {
        let piece = self.peek();
        self.at += 1;
        piece
    }

    fn piece(&self) -> (Token, &str) {
        self.pieces.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut literal) = self.next();
        let negated = token == NOT;
        if negated {
            (token, literal) = self.next();
        }
        if token != Token::Word {
            return Err(found(&literal, ", expected: identifier"));
        }
        let key = literal;
        if let Some(error) = wrong_key(&key, &Path::root()) {
            return Err(SelectorError(error.to_string()));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek().0, Token::End | COMMA) {
            return Requirement::new(&key, Operator::Exists, []);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.value()?]),
        };
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let (token, literal) = self.piece();
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Symbol(Symbol::Equals) => Operator::Equals,
            Token::Symbol(Symbol::DoubleEquals) => Operator::DoubleEquals,
            Token::Symbol(Symbol::NotEquals) => Operator::NotEquals,
            Token::Symbol(Symbol::Greater) => Operator::GreaterThan,
            Token::Symbol(Symbol::Less) => Operator::LessThan,
            _ => return Err(found(literal, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        self.at += 1;
        Ok(operator)
    }

    /// `(a,b)`; a comma with nothing beside it stands for an empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let (token, literal) = self.next();
        if token != Token::Symbol(Symbol::Open) {
            return Err(found(&literal, " expected: '('"));
        }
        let (token, first) = self.peek();
        match token {
            Token::Word | COMMA => {}
            CLOSE => {
                self.at += 1;
                return Ok(BTreeSet::new());
            }
            _ => return Err(found(&first, ", expected: ',', ')' or identifier")),
        }
        let mut values = BTreeSet::new();
        loop {
            let (token, literal) = self.next();
            match token {
                Token::Word => {
                    values.insert(literal);
                    match self.peek() {
                        (COMMA, _) => continue,
                        (CLOSE, _) => break,
                        (_, literal) => return Err(found(&literal, ", expected: ',' or ')'")),
                    }
                }
                COMMA => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    let (next, _) = self.peek();
                    if matches!(next, CLOSE | COMMA) {
                        values.insert(String::new());
                    }
                    match next {
                        CLOSE => break,
                        COMMA => self.at += 1,
                        _ => {}
                    }
                }
                _ => return Err(found(&literal, ", expected: ',', or identifier")),
            }
        }
        self.at += 1;
        Ok(values)
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().0, Token::End | COMMA) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Word, value) => Ok(value),
            (_, literal) => Err(found(&literal, ", expected: identifier")),
        }
    }
}

fn is_symbol(c: char) -> bool {
    "=!(),><".contains(c)
}

/// Cuts a text: runs of symbols are cut into the longest that are known, the rest at spaces.
fn pieces(text: &str) -> Vec<(Token, &str)> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut pieces = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (token, length) = if is_symbol(first) {
            let known = SYMBOLS.iter().filter(|(symbol, _)| rest.starts_with(symbol));
            let longest = known.max_by_key(|(symbol, _)| symbol.len());
            longest.map_or((Token::Unknown, first.len_utf8()), |(text, symbol)| {
                (Token::Symbol(*symbol), text.len())
            })
        } else {
            let end = rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len());
            let token = match &rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Word,
            };
            (token, end)
        };
        pieces.push((token, &rest[..length]));
        rest = rest[length..].trim_start_matches(is_space);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for (text, expected) in [
            ("x=a,y=b,z=c", "x=a,y=b,z=c"),
            (" x = a , y = b ", "x=a,y=b"),
            ("b,a", "a,b"),
            ("x!=a", "x!=a"),
            ("x==a", "x==a"),
            ("x in ()", ""),
            ("x in (b,a)", "x in (a,b)"),
            ("x notin (,a)", "x notin (,a)"),
            ("x in (a,,b)", "x in (,a,b)"),
            ("x in (,)", "x in ()"),
            ("! x", "!x"),
            ("x=in", "x=in"),
            ("in,notin", "in,notin"),
            ("x>7,y<2", "x>7,y<2"),
            ("a.b/c=d", "a.b/c=d"),
            ("x=,y", "x=,y"),
        ] {
            let shown = selector(text).map(|selector| selector.to_string());
            if expected.is_empty() {
                assert!(shown.is_err(), "{text}");
            } else {
                assert_eq!(shown.as_deref(), Ok(expected), "{text}");
            }
        }
    }

    #[test]
    fn mistakes_are_told_as_by_kubernetes() {
        for (text, expected) in [
            ("=", "found '=', expected: !, identifier, or 'end of string'"),
            ("x,", "found '', expected: identifier after ','"),
            ("x a", "unable to parse requirement: found 'a', expected: in, notin, =, ==, !=, gt, lt"),
            ("x=a b", "found 'b', expected: ',' or 'end of string'"),
            ("x=a=b", "found '=', expected: ',' or 'end of string'"),
            ("x==!a", "unable to parse requirement: found '!', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("x in a", "unable to parse requirement: found 'a' expected: '('"),
            ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("x in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            (
                "x in ()",
                "unable to parse requirement: values: Invalid value: []string{}: for 'in', 'notin' operators, values \
                 set can't be empty",
            ),
            (
                "x>a",
                "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value \
                 must be an integer",
            ),
        ] {
            assert_eq!(selector(text).expect_err(text).to_string(), expected);
        }
        let error = selector("a/b/c=d").expect_err("two slashes").to_string();
        assert!(
            error.starts_with(
                "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name must"
            ),
            "{error}"
        );
        let error = selector("a=-").expect_err("a dash").to_string();
        assert!(
            error.starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must"
            ),
            "{error}"
        );
    }
}
