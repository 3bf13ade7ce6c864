//! The `pingu` command.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use ipnet::IpNet;
use pingu::{
    config::{Config, LoadError},
    control, daemon, import,
    install::{self, service_manager::Wish},
    log::{Log, say},
    probe::kernel,
    reflect::{self, HookChoice},
    script::failoverd,
};
use tracing_subscriber::EnvFilter;

/// The kernel does not let this process do what the configuration asks for (`EX_NOPERM` there).
const EXIT_NO_PERMISSION: u8 = 77;

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Probes every way out of this router and keeps its routes on the ones that work.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(clap::Args)]
struct DaemonArguments {
    /// Runs in the foreground with this configuration.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listens for `pingu status` here instead of at the configured socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Validates a configuration and prints it with every default filled in.
    Check {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Makes a configuration from that of another system: py-pingu, the multigateway or two-gateway failover, mwan3, dpinger.
    Import(import::Options),
    /// Asks the running daemon.
    Status {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
        /// The daemon's socket.
        #[arg(long, value_name = "PATH", default_value = "/run/pingu/pingu.sock")]
        socket: PathBuf,
    },
    /// Tells in plain words why uplinks are what they are, and what one can do.
    Why {
        /// The uplink's name; without it, all.
        uplink: Option<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
        /// The daemon's socket.
        #[arg(long, value_name = "PATH", default_value = "/run/pingu/pingu.sock")]
        socket: PathBuf,
    },
    /// Pins an uplink: traffic leaves by it whatever its health, as long as it can be left by at all.
    Pin {
        /// The uplink's name.
        #[arg(required_unless_present = "clear")]
        name: Option<String>,
        /// Pins nothing any more.
        #[arg(long, conflicts_with = "name")]
        clear: bool,
        /// The daemon's socket.
        #[arg(long, value_name = "PATH", default_value = "/run/pingu/pingu.sock")]
        socket: PathBuf,
    },
    /// Answers the probes of other pingus, which then tell in which direction packets are lost.
    Reflect {
        /// Where to answer; may be given several times, and need not exist yet.
        #[arg(short, long = "interface", value_name = "NAME", required = true, value_parser = reflect::interface)]
        interfaces: Vec<String>,
        /// Whom to answer: an address or a prefix; may be given several times. Without it, anybody. Others get the kernel's answer.
        #[arg(long, value_name = "PREFIX", value_parser = prefix)]
        from: Vec<IpNet>,
        /// How many requests to answer in a second, on all interfaces together; 0: any number. Those beyond get the kernel's answer.
        #[arg(long, value_name = "PACKETS_PER_SECOND", default_value_t = reflect::LIMIT, value_parser = reflect::limit())]
        limit: u32,
        /// The hook: XDP where replies are sure to leave by it, or one of the two.
        #[arg(long, value_enum, default_value = "auto")]
        hook: HookChoice,
        /// Prints statistics (at SIGUSR1 and at the end) as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Installs this program as a service: its unit, a configuration, and names for pingu's protocol and tables in `ip route`.
    Install {
        /// The configuration. Without it: the one that is there, or one that begins and has to be edited.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Has it started at each boot.
        #[arg(long)]
        enable: bool,
        /// The same, and starts it at once.
        #[arg(long)]
        now: bool,
        /// Installs below this directory instead of `/`.
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
    /// Ends the service and removes what `install` has written, but a configuration that was changed; and nothing else.
    Uninstall {
        /// Not needed, and not read: what is to go is known without.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Removes below this directory instead of `/`.
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match (cli.verb, cli.daemon.config) {
        (Some(Verb::Check { config }), _) if failoverd::is_script(&config) => finish(
            failoverd::check(&config)
                .map_err(Into::into)
                .and_then(|text| print(&text)),
        ),
        (Some(Verb::Check { config }), _) => check(&config),
        (Some(Verb::Import(options)), _) => finish(import::run(&options)),
        (Some(Verb::Status { json, socket }), _) => finish(status(json, &socket)),
        (
            Some(Verb::Why {
                uplink,
                json,
                socket,
            }),
            _,
        ) => finish(why(uplink.as_deref(), json, &socket)),
        (Some(Verb::Pin { name, socket, .. }), _) => finish(pin(name.as_deref(), &socket)),
        (
            Some(Verb::Reflect {
                interfaces,
                from,
                limit,
                hook,
                json,
            }),
            _,
        ) => finish(block_on(reflect::run(reflect::Options {
            interfaces,
            from,
            limit,
            hook,
            json,
        }))),
        (
            Some(Verb::Install {
                config,
                enable,
                now,
                root,
            }),
            _,
        ) => {
            let wish = match (enable, now) {
                (_, true) => Wish::Running,
                (true, false) => Wish::Enabled,
                (false, false) => Wish::Known,
            };
            install(config.as_deref(), &root, wish)
        }
        (Some(Verb::Uninstall { root, .. }), _) => finish(tell(install::run_uninstall(&root))),
        (None, Some(config)) if failoverd::is_script(&config) => {
            finish(block_on(failoverd::run(&config)))
        }
        (None, Some(config)) => run(&config, cli.daemon.socket),
        (None, None) => {
            say("pingu: give a configuration with --config FILE, or a verb; see --help");
            ExitCode::from(2)
        }
    }
}

fn run(path: &Path, socket: Option<PathBuf>) -> ExitCode {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Some(socket) = socket {
        config.socket = socket;
    }
    finish(block_on(daemon::run(config)))
}

/// Runs to its end, with a log on standard error.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Log::new(io::stderr()))
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    // A write to a disk that hangs is not waited for.
    runtime.shutdown_background();
    outcome
}

/// A prefix, or an address as the longest one.
fn prefix(text: &str) -> Result<IpNet, String> {
    let whole = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| whole()).map_err(|_| {
        "must be an address or a prefix, such as 192.0.2.0/24 or 2001:db8::/32".to_owned()
    })
}

fn check(path: &Path) -> ExitCode {
    match load(path) {
        Ok(config) => {
            let (text, takes) = (config.to_toml(), config.footprint());
            finish(print(&format!(
                "{text}\n# Memory beside the program's own: {takes}.\n"
            )))
        }
        Err(code) => code,
    }
}

fn load(path: &Path) -> Result<Config, ExitCode> {
    if import::is_py_pingu(path) {
        return import::load_py_pingu(path).map_err(|error| finish(Err(error)));
    }
    match Config::load(path) {
        Ok((config, warnings)) => {
            for warning in warnings {
                say(warning);
            }
            Ok(config)
        }
        Err(error) => {
            report(&error);
            Err(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn report(error: &LoadError) {
    let text = match error {
        LoadError::Wrong(problems) if io::stderr().is_terminal() => problems.render(),
        other => other.to_string(),
    };
    say(text.trim_end());
}

fn why(uplink: Option<&str>, json: bool, socket: &Path) -> anyhow::Result<()> {
    let why = control::client::why(socket, uplink)?;
    if json {
        print(&format!("{}\n", serde_json::to_string(&why)?))
    } else {
        print(&control::why::render(&why))
    }
}

fn status(json: bool, socket: &Path) -> anyhow::Result<()> {
    let (status, text) = control::client::status(socket)?;
    print(&if json {
        text
    } else {
        control::table::render(&status)
    })
}

fn pin(name: Option<&str>, socket: &Path) -> anyhow::Result<()> {
    let answer = control::client::pin(socket, name)?;
    for note in answer.notes {
        say(format_args!("pingu: {note}"));
    }
    print(&match answer.pinned {
        Some(name) => format!("{name} is pinned\n"),
        None => "nothing is pinned\n".to_owned(),
    })
}

fn install(config: Option<&Path>, root: &Path, wish: Wish) -> ExitCode {
    let given = match config {
        None => None,
        Some(path) if failoverd::is_script(path) => {
            let shown = path.display();
            return finish(Err(anyhow::anyhow!(
                "{shown} is a script, and no configuration of the service: put it into /etc/pingu, install without it, and name it in \
                 `ExecStart=` by `systemctl edit pingu` (docs/scripting.md)"
            )));
        }
        Some(path) => match load(path) {
            Ok(config) => match fs::read_to_string(path) {
                Ok(text) => Some((text, config)),
                Err(error) => {
                    let context = format!("cannot read {}", path.display());
                    return finish(Err(anyhow::Error::from(error).context(context)));
                }
            },
            Err(code) => return code,
        },
    };
    let given = given.as_ref().map(|(text, config)| (&**text, config));
    finish(tell(install::run_install(root, given, wish)))
}

fn tell(done: Result<Vec<String>, install::InstallError>) -> anyhow::Result<()> {
    let lines: Vec<String> = done?.iter().map(|line| format!("{line}\n")).collect();
    print(&lines.concat())
}

/// Prints to standard output; a reader that has gone (`pingu status | head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if import::is_about_the_file(&error) {
                say(&error);
                return ExitCode::from(EXIT_CONFIG);
            }
            say(format_args!("pingu: {error:#}"));
            match error.downcast_ref() {
                Some(kernel::LoadError::MissingCapability(_) | kernel::LoadError::Forbidden(_)) => {
                    ExitCode::from(EXIT_NO_PERMISSION)
                }
                Some(_) | None => ExitCode::FAILURE,
            }
        }
    }
}
