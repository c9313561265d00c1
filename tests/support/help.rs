//! What the command says of itself: its help, read back into commands, arguments and options.

use std::process::{Command, Stdio};

/// One command and all that its help says.
pub(crate) struct Help {
    pub(crate) about: String,
    pub(crate) usage: String,
    /// Names of the commands below it.
    pub(crate) commands: Vec<String>,
    pub(crate) arguments: Vec<Item>,
    pub(crate) options: Vec<Item>,
    /// What stands behind the options, as it is.
    pub(crate) rest: String,
}

/// An argument or option, and what its help says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) meaning: String,
}

/// Which lines are read.
#[derive(Clone, Copy)]
enum Place {
    Above,
    Commands,
    Arguments,
    Options,
    Below,
}

impl Help {
    /// Asks a program for the help of one of its commands; of itself with none.
    pub(crate) fn of(program: &std::path::Path, command: &[&str]) -> Self {
        let mut asked = Command::new(program);
        asked.args(command).arg("--help").env_clear().env("COLUMNS", "110").stdin(Stdio::null());
        let output = asked.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        Self::read(&String::from_utf8(output.stdout).unwrap())
    }

    fn read(text: &str) -> Self {
        let mut help = Self {
            about: String::new(),
            usage: String::new(),
            commands: Vec::new(),
            arguments: Vec::new(),
            options: Vec::new(),
            rest: String::new(),
        };
        let (mut place, mut items) = (Place::Above, Vec::new());
        for line in text.lines() {
            match line {
                "Commands:" => place = Place::Commands,
                "Arguments:" => place = Place::Arguments,
                "Options:" => place = Place::Options,
                _ if line.starts_with("Usage: ") => help.usage = line["Usage: ".len()..].to_owned(),
                _ if line.is_empty() && !matches!(place, Place::Below) => help.take(place, &mut items),
                _ => match place {
                    Place::Above => help.about += line,
                    Place::Commands | Place::Arguments | Place::Options if line.starts_with(' ') => {
                        // What values there are stands in a paragraph of its own.
                        if items.is_empty() && line.starts_with("        ") {
                            items.extend(help.last_of(place));
                        }
                        add(&mut items, line);
                    }
                    _ => {
                        place = Place::Below;
                        help.rest += &format!("{line}\n");
                    }
                },
            }
        }
        help.take(place, &mut items);
        help
    }

    fn last_of(&mut self, place: Place) -> Option<Item> {
        match place {
            Place::Arguments => self.arguments.pop(),
            Place::Options => self.options.pop(),
            Place::Commands | Place::Above | Place::Below => None,
        }
    }

    fn take(&mut self, place: Place, items: &mut Vec<Item>) {
        let items = std::mem::take(items);
        match place {
            Place::Commands => self.commands.extend(items.into_iter().map(|item| item.name)),
            Place::Arguments => self.arguments.extend(items),
            Place::Options => self.options.extend(items),
            Place::Above | Place::Below => {}
        }
    }
}

/// A line of a list: an item begins at most six columns in, its meaning goes on further right.
fn add(items: &mut Vec<Item>, line: &str) {
    let text = line.trim_start();
    if line.len() - text.len() <= 6 {
        let (name, meaning) = text.split_once("  ").unwrap_or((text, ""));
        items.push(Item { name: name.to_owned(), meaning: meaning.trim().to_owned() });
    } else {
        let last = items.last_mut().expect("an item goes on");
        last.meaning = format!("{} {text}", last.meaning).trim().to_owned();
    }
}

#[test]
fn a_help_is_read_back_whole() {
    let help = Help::read(
        "Do it\n\nUsage: tool do [OPTIONS] <WHAT>\n\nArguments:\n  <WHAT>  The thing\n\nOptions:\n  \
         -q, --quiet         Say\n                      less\n      --deep <LEVEL>  How deep\n\nExamples:\n  tool do it\n\nMore.\n",
    );
    assert_eq!((help.about.as_str(), help.usage.as_str()), ("Do it", "tool do [OPTIONS] <WHAT>"));
    assert_eq!(help.arguments, [Item { name: "<WHAT>".to_owned(), meaning: "The thing".to_owned() }]);
    assert_eq!(help.options[0], Item { name: "-q, --quiet".to_owned(), meaning: "Say less".to_owned() });
    assert_eq!(help.options[1].name, "--deep <LEVEL>");
    assert_eq!(help.rest, "Examples:\n  tool do it\n\nMore.\n");
}
