//! Simulates a network with many clients in virtual time, and says what became of their messages.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use allium_tests::sim::Weather;
use allium_tests::sim::crowd::{Plan, Report, Standing, run};
use clap::Parser;

/// Simulates a network in virtual time: clients pair up as contacts and talk while links break and relays crash.
///
/// The same arguments give the same run. Exits with 1 when a message was lost, came twice or out of its turn.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Arguments {
    /// Relays.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(5..=5000))]
    relays: u64,
    /// Clients; each two of them become contacts.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    clients: u64,
    /// For how many virtual minutes they talk.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// What everything is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The mean time between two messages of one client, in virtual seconds.
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    message_every: f64,
    /// The mean time between two links that break, in the whole network, in virtual seconds; 0 for none.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    link_break_every: f64,
    /// The mean time between two relays that crash and start again, in the whole network, in virtual seconds; 0 for none.
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    relay_crash_every: f64,
    /// The mean time between two clients that crash and start again, in the whole network, in virtual seconds; 0 for none.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    client_crash_every: f64,
    /// What a link delays each message at least: from a link of this many milliseconds …
    #[arg(long, default_value_t = 5)]
    latency_from: u64,
    /// … to one of this many.
    #[arg(long, default_value_t = 50)]
    latency_to: u64,
    /// What a message may be delayed beyond that, in milliseconds.
    #[arg(long, default_value_t = 10)]
    jitter: u64,
    /// Print one JSON object instead of a table, and no progress.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected".to_owned())?;
    if (0.0..=1e6).contains(&seconds) { Ok(seconds) } else { Err("0 to 1000000 seconds are expected".to_owned()) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let report = run(&arguments.plan(), |standing| {
        if !arguments.json {
            show(&standing, start.elapsed());
        }
    });
    let printed = if arguments.json { json(&report, start.elapsed()) } else { table(&report, start.elapsed()) };
    if let Err(error) = std::io::stdout().write_all(printed.as_bytes()) {
        eprintln!("the report cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    fn plan(&self) -> Plan {
        let rare = |seconds: f64| (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Plan {
            seed: self.seed,
            relays: size(self.relays),
            clients: size(self.clients),
            talk: Duration::from_secs(self.minutes * 60),
            pause: Duration::from_secs_f64(self.message_every),
            weather: Weather {
                latency: self.latency_from..=self.latency_to.max(self.latency_from),
                jitter: self.jitter,
                link_breaks: rare(self.link_break_every),
                relay_crashes: rare(self.relay_crash_every),
                client_crashes: rare(self.client_crash_every),
                ..Weather::default()
            },
        }
    }
}

fn show(standing: &Standing, elapsed: Duration) {
    let Standing { phase, millis, happenings, connected, sent, delivered } = standing;
    eprintln!(
        "{:6.1} s  {:>6.1} s virtual  {phase:<21} {connected} connected, {sent} sent, {delivered} delivered, \
         {happenings} events",
        elapsed.as_secs_f64(),
        *millis as f64 / 1000.0,
    );
}

fn json(report: &Report, elapsed: Duration) -> String {
    let mut value = serde_json::json!(report);
    value["clean"] = report.is_clean().into();
    value["real_seconds"] = ((elapsed.as_secs_f64() * 1000.0).round() / 1000.0).into();
    format!("{value}\n")
}

fn table(report: &Report, elapsed: Duration) -> String {
    let totals = &report.totals;
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: &dyn ToString| rows.push((name.to_owned(), value.to_string()));
    row("relays", &report.relays);
    row("clients", &report.clients);
    row("virtual seconds of talk", &report.seconds);
    row("virtual seconds in all", &report.seconds_in_all);
    row("real seconds", &format!("{:.1}", elapsed.as_secs_f64()));
    row("events", &report.happenings);
    row("trace", &report.trace);
    row("circuits built", &report.circuits_built);
    row("circuits failed while being built", &report.circuits_failed);
    row("circuits lost later", &report.circuits_lost);
    for (kind, count) in &report.circuit_ends {
        row(&format!("  ended by: {kind}"), count);
    }
    for (reason, count) in &totals.destroyed {
        row(&format!("  relays said: {reason}"), count);
    }
    row("cells forwarded by relays", &totals.cells_forwarded);
    row("cells on links, padding too", &totals.cells_on_links);
    row("messages on links", &totals.messages_on_links);
    row("links between relays opened", &totals.dials);
    row("links broken", &totals.links_broken);
    for (reason, count) in &totals.links_ended {
        row(&format!("  relays ended: {reason}"), count);
    }
    row("relays crashed", &totals.relays_crashed);
    row("clients crashed", &totals.clients_crashed);
    row("most circuits at one relay", &report.relay_peak.circuits);
    row("most cells queued at one relay", &report.relay_peak.queued);
    row("most waiting at one relay", &report.relay_peak.waiting);
    row("most links of one relay", &report.relay_peak.links);
    row("most circuits of one client", &report.client_peak.circuits);
    row("most links of one client", &report.client_peak.links);
    row("clients without their contact", &report.strangers);
    row("messages sent", &report.messages_sent);
    row("messages delivered", &report.messages_delivered);
    row("messages lost", &report.messages_lost);
    row("messages doubled", &report.messages_duplicated);
    row("messages out of turn", &report.messages_disordered);
    rows.into_iter().map(|(name, value)| format!("{name:<64}{value:>18}\n")).collect()
}
