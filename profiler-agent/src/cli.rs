//! The command line. Flags of `run` and `record` are made from [`config::SETTINGS`](crate::config::SETTINGS).

use crate::config::{Arity, Command, Heading, Layer, Origin, SETTINGS, Setting};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  profiler-agent run
      flame graphs of this host at http://127.0.0.1:4041/
  profiler-agent run --endpoint http://localhost:4040
      the same, and send it to Pyroscope
  profiler-agent record --output host.svg
      ten seconds of this host as a flame graph
  profiler-agent explain 1234
      what a process is called, what its stacks are made from, and what they lack
  profiler-agent doctor
      what works here, and what to do when it does not";

const RUN_NOTES: &str = "\
Every flag is also a variable of the environment, such as PROFILER_LOG_LEVEL,
and a key of the file. Flags count over the environment, that over the file.
Of OpenTelemetry's variables these are honoured, with OTEL_EXPORTER_OTLP_ in
front: PROFILES_ENDPOINT, ENDPOINT, HEADERS, CERTIFICATE.

Examples:
  profiler-agent run
  profiler-agent run --endpoint https://profiles.example.com --tenant team-a
  profiler-agent run --cgroup /sys/fs/cgroup/kubepods.slice --label env=prod
  profiler-agent config show --config /etc/profiler.toml";

const RECORD_NOTES: &str = "\
Every flag is also a variable of the environment, such as PROFILER_LOG_LEVEL.

Examples:
  profiler-agent record
      a table of this host's hottest functions
  profiler-agent record --duration 30s --output host.svg
      a flame graph for the browser
  profiler-agent record --pid 1234 --output app.pb.gz
      for `go tool pprof`
  profiler-agent record --frequency 997 --output build.folded -- make -j8
      collapsed stacks of a command and its children";

/// Continuous profiler for Linux: samples every CPU with eBPF, names the stacks, ships OTLP profiles
#[derive(Debug, Parser)]
#[command(name = "profiler-agent", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Profile this host until stopped; look at it at http://127.0.0.1:4041/
    #[command(after_help = RUN_NOTES)]
    Run(Flags<RUN>),
    /// Make one recording of this host, of some processes or of a command
    #[command(after_help = RECORD_NOTES)]
    Record {
        /// Settings.
        #[command(flatten)]
        flags: Flags<RECORD>,
        /// Start this command and record it and its children
        #[arg(last = true, value_name = "COMMAND", conflicts_with = "pid", help_heading = "Recording")]
        command: Vec<OsString>,
    },
    /// Say what works on this host, and what fixes the rest
    Doctor {
        /// Write JSON
        #[arg(long)]
        json: bool,
        /// Settings of `run`, whose endpoints are asked.
        #[command(flatten)]
        flags: Flags<RUN>,
    },
    /// Say how a process is named, where its unwind rows and symbols are from, and why stacks would be incomplete
    Explain {
        /// Process id
        pid: u32,
    },
    /// Check a configuration file, or show the effective configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Load every kernel program and print the instructions verified
    #[command(hide = true)]
    Verify,
    /// Write windows to a spool until something ends that, and say which
    #[command(hide = true)]
    SpoolWrite {
        /// The spool's folder.
        folder: PathBuf,
    },
    /// Say what a spool written so holds
    #[command(hide = true)]
    SpoolRead {
        /// The spool's folder.
        folder: PathBuf,
    },
    /// Stop, then become the command: how `record` holds a command until sampling has begun
    #[command(hide = true)]
    Launch {
        /// The command.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// Commands about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print every mistake of a configuration file
    Check {
        /// TOML; keys are the flags of `run` without dashes in front
        file: PathBuf,
    },
    /// Print the effective configuration of `run`, with where each value came from
    Show(Flags<RUN>),
}

/// [`Flags`] of `run`.
pub const RUN: bool = false;
/// [`Flags`] of `record`.
pub const RECORD: bool = true;

/// The flags that were given, as the uppermost layer of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags<const OF: bool>(pub Layer);

impl<const OF: bool> Flags<OF> {
    fn settings() -> impl Iterator<Item = &'static Setting> {
        let command = if OF == RECORD { Command::Record } else { Command::Run };
        SETTINGS.iter().filter(move |setting| setting.commands.contains(&command))
    }
}

impl<const OF: bool> Args for Flags<OF> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(Self::settings().map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<const OF: bool> FromArgMatches for Flags<OF> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in Self::settings() {
            let origin = Origin::Flag(setting.key);
            if setting.arity == Arity::Switch {
                if matches.get_flag(setting.key) {
                    self.0.add(setting.key, "true", origin);
                }
                continue;
            }
            for text in matches.get_many::<String>(setting.key).into_iter().flatten() {
                self.0.add(setting.key, text, origin.clone());
            }
        }
        Ok(())
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.key).long(setting.key).help(help(setting)).hide(setting.hidden);
    let argument = argument.help_heading(Heading::title(setting.heading));
    let argument = match setting.arity {
        Arity::Switch => return argument.action(ArgAction::SetTrue),
        Arity::One => argument.action(ArgAction::Set),
        Arity::Pairs => argument.action(ArgAction::Append),
        Arity::List => argument.action(ArgAction::Append).value_delimiter(','),
    };
    // Values are checked with those of the other layers, so that every mistake is told at once.
    argument.value_name(setting.value_name)
}

fn help(setting: &Setting) -> String {
    match (setting.arity, setting.default) {
        (Arity::Switch, _) | (_, "") => setting.help.to_owned(),
        (_, default) => format!("{} [default: {default}]", setting.help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn clap_finds_no_mistake_in_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_a_layer() {
        let Verb::Run(flags) =
            parse("x run --frequency 97 --pid 1,2 --pid 3 --label a=b,c --no-kernel-stacks").unwrap().verb
        else {
            panic!("not run");
        };
        let texts = |key: &str| flags.0.items(key).iter().map(|item| item.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts("frequency"), ["97"]);
        assert_eq!(texts("pid"), ["1", "2", "3"]);
        assert_eq!(texts("label"), ["a=b,c"]);
        assert_eq!(texts("no-kernel-stacks"), ["true"]);
        assert_eq!(texts("metrics-open"), Vec::<String>::new());
        assert_eq!(flags.0.items("pid")[0].origin.to_string(), "flag --pid");
    }

    #[test]
    fn record_takes_a_command_with_its_own_flags() {
        let Verb::Record { flags, command } = parse("x record --duration 1s -- make -j8 --pid").unwrap().verb else {
            panic!("not record");
        };
        assert_eq!(flags.0.items("duration")[0].text, "1s");
        assert_eq!(command, ["make", "-j8", "--pid"]);
        assert_eq!(parse("x record --pid 1 -- make").unwrap_err().kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn unknown_flags_and_missing_values_are_wrong_usage() {
        for line in [
            "x run --nope",
            "x run --frequency",
            "x run --output x.svg",
            "x record --endpoint http://h",
            "x run now",
            "x",
            "x config check",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn values_are_left_to_the_configuration() {
        for line in ["x run --frequency fast", "x run --interval 10ms", "x run --listen 4041", "x run --label a"] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn help_has_one_line_per_flag_and_headings_in_order() {
        let mut command = Cli::command();
        let text = command.find_subcommand_mut("run").unwrap().render_help().to_string();
        let headings =
            ["Sampling:", "Filters:", "Export:", "Naming:", "Page:", "Configuration:", "Logging:", "Examples:"];
        let at: Vec<usize> = headings.iter().map(|heading| text.find(&format!("\n{heading}\n")).unwrap()).collect();
        assert!(at.is_sorted(), "{text}");
        assert!(!text.contains("ring-bytes"));
    }
}
