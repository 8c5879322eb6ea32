//! The run: who starts, who is measured when, what came of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::backend;
use crate::case::Case;
use crate::certs::Leaf;
use crate::contestants::{Cluster, Contestant, Entrant, Stage, Standing, build, field};
use crate::job::{Dialect, Job, Reading, Work};
use crate::machine;
use crate::options::Options;
use crate::process::{self, Fault, Running};
use crate::scram::Secret;

/// Enough to go through every buffer a few times.
const CHECKED: u64 = 4 << 20;

/// All that was measured.
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) cases: Vec<Case>,
    pub(crate) machine: String,
    pub(crate) backend: String,
    /// Whether that is a real PostgreSQL.
    pub(crate) real: bool,
    /// Rounds that count.
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
}

/// A contestant and its readings, one per pass in the rounds that count, or one per pair of windows.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    pub(crate) version: String,
    pub(crate) settings: String,
    pub(crate) readings: BTreeMap<usize, Vec<Reading>>,
    /// Why it has no part, or none in some case.
    pub(crate) faults: Vec<String>,
}

/// Who answers behind the proxies.
enum Behind {
    Fake(Running),
    Postgres(Cluster),
}

/// What holds for all.
struct Hall<'a> {
    options: &'a Options,
    stage: Stage,
}

struct Lane {
    entrant: Entrant,
    contestant: Option<Contestant>,
    row: Row,
}

/// Runs everything below `dir`.
pub(crate) fn run(options: &Options, dir: &Path) -> Result<Results, Fault> {
    let began = Instant::now();
    let machine = machine::describe();
    let (stage, behind) = set_stage(options, dir)?;
    let hall = Hall { options, stage };
    let cases = Case::all(options);
    let mut lanes = lanes(&hall, &cases)?;
    let (rounds, dropped) = options.rounds();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for (at, case) in cases.iter().enumerate() {
            if matches!(case, Case::Memory { .. }) {
                continue;
            }
            for pass in 0..case.passes(options) {
                let forward = (round + pass) % 2 == 0;
                for lane in in_order(&mut lanes, forward) {
                    lane.measure((at, *case), &hall, round >= dropped);
                }
            }
        }
    }
    for (at, case) in cases.iter().enumerate() {
        if matches!(case, Case::Memory { .. }) {
            memory(&mut lanes, (at, *case), &hall);
        }
    }
    Ok(Results {
        rows: lanes.into_iter().map(|lane| lane.row).collect(),
        cases,
        machine,
        backend: behind.version(),
        real: options.real,
        rounds: rounds - dropped,
        seconds: began.elapsed().as_secs(),
    })
}

/// Once, one contestant at a time, each fresh: what earlier cases left behind is not counted.
fn memory(lanes: &mut [Lane], case: (usize, Case), hall: &Hall<'_>) {
    eprintln!("memory");
    let able = lanes
        .iter_mut()
        .map(|lane| lane.contestant.take().is_some());
    let able: Vec<bool> = able.collect();
    for (lane, able) in lanes.iter_mut().zip(able) {
        if able && case.1.admits(lane.entrant.standing) {
            lane.begin(&hall.stage);
            lane.measure(case, hall, true);
            lane.contestant = None;
        }
    }
}

fn in_order(lanes: &mut [Lane], forward: bool) -> Box<dyn Iterator<Item = &mut Lane> + '_> {
    if forward {
        Box::new(lanes.iter_mut())
    } else {
        Box::new(lanes.iter_mut().rev())
    }
}

fn set_stage(options: &Options, dir: &Path) -> Result<(Stage, Behind), Fault> {
    let leaf = Leaf::issue(dir)?;
    let verifier = Secret::derive().verifier();
    let (behind, backend) = match options.dialect() {
        Dialect::Fake => {
            let setup = backend::Setup {
                certificate: leaf.certificate.clone(),
                key: leaf.key.clone(),
            };
            let setup = serde_json::to_string(&setup)?;
            let mut command = process::role(options.load_core(), "backend", &setup)?;
            let (running, address) = Running::role(&mut command, dir.join("backend.log"))?;
            (Behind::Fake(running), address)
        }
        Dialect::Postgres => {
            let cluster = Cluster::start(dir, &leaf, (options.load_core(), &verifier))?;
            let address = cluster.address();
            (Behind::Postgres(cluster), address)
        }
    };
    let stage = Stage {
        dir: dir.to_owned(),
        leaf,
        backend,
        backend_pid: behind.pid(),
        dialect: options.dialect(),
        proxy_core: options.proxy_core(),
        load_core: options.load_core(),
        verifier,
    };
    Ok((stage, behind))
}

fn lanes(hall: &Hall<'_>, cases: &[Case]) -> Result<Vec<Lane>, Fault> {
    let options = hall.options;
    let mut entrants = field(options.dialect());
    if let Some(unknown) = options
        .peers
        .iter()
        .find(|name| !entrants.iter().any(|entrant| entrant.name == **name))
    {
        let known: Vec<&str> = entrants.iter().map(|entrant| &*entrant.name).collect();
        return Err(format!("no contestant {unknown}; there are {}", known.join(", ")).into());
    }
    entrants.retain(|entrant| options.peers.is_empty() || options.peers.contains(&entrant.name));
    entrants.retain(|entrant| cases.iter().any(|case| case.admits(entrant.standing)));
    for revision in &options.against {
        let (short, binary) = build(revision)?;
        let name = format!("portcullis-{short}");
        entrants.insert(entrants.len().min(1), Entrant::earlier(&name, binary));
    }
    let mut lanes: Vec<Lane> = entrants.into_iter().map(Lane::new).collect();
    for lane in &mut lanes {
        lane.begin(&hall.stage);
        lane.check(hall);
    }
    Ok(lanes)
}

impl Behind {
    fn pid(&self) -> u32 {
        match self {
            Self::Fake(running) => running.pid(),
            Self::Postgres(cluster) => cluster.pid(),
        }
    }

    fn version(&self) -> String {
        match self {
            Self::Fake(_) => {
                "a fake PostgreSQL of this benchmark, answering from memory".to_owned()
            }
            Self::Postgres(cluster) => cluster.version().to_owned(),
        }
    }
}

impl Lane {
    fn new(entrant: Entrant) -> Self {
        let row = Row {
            name: entrant.name.clone(),
            standing: entrant.standing,
            version: String::new(),
            settings: String::new(),
            readings: BTreeMap::new(),
            faults: Vec::new(),
        };
        Self {
            entrant,
            contestant: None,
            row,
        }
    }

    fn begin(&mut self, stage: &Stage) {
        match self.entrant.start(stage) {
            Ok(contestant) => {
                self.row.version.clone_from(&contestant.version);
                self.row.settings.clone_from(&contestant.settings);
                self.contestant = Some(contestant);
            }
            Err(fault) => self.fail("start", &fault),
        }
    }

    /// Nobody is measured who changes what passes.
    fn check(&mut self, hall: &Hall<'_>) {
        let Some(contestant) = &self.contestant else {
            return;
        };
        let job = contestant.job(&hall.stage, Work::Check { bytes: CHECKED });
        if let Err(fault) = process::load(hall.options.load_core(), &job) {
            self.contestant = None;
            self.fail("check", &fault);
        }
    }

    fn measure(&mut self, (at, case): (usize, Case), hall: &Hall<'_>, counts: bool) {
        let Some(contestant) = &self.contestant else {
            return;
        };
        if !case.admits(self.entrant.standing) {
            return;
        }
        match contestant.measure(case, hall) {
            Ok(readings) if counts => self.row.readings.entry(at).or_default().extend(readings),
            Ok(_) => {}
            Err(fault) => self.fail(&case.title(), &fault),
        }
    }

    fn fail(&mut self, what: &str, fault: &Fault) {
        let told = format!("{what}: {fault}");
        eprintln!("{}: {told}", self.row.name);
        self.row.faults.push(told);
    }
}

impl Contestant {
    fn job(&self, stage: &Stage, work: Work) -> Job {
        Job {
            target: self.target.clone(),
            proxy: self.running.pid(),
            backend: stage.backend_pid,
            cores: [stage.proxy_core.number, stage.load_core.number],
            realtime: stage.proxy_core.realtime,
            work,
        }
    }

    fn measure(&self, case: Case, hall: &Hall<'_>) -> Result<Vec<Reading>, Fault> {
        let options = hall.options;
        let job = self.job(&hall.stage, case.work(options));
        if case != Case::OneCpu {
            return process::load(options.load_core(), &job);
        }
        self.running.pin(options.load_core())?;
        let readings = process::load(options.load_core(), &job);
        self.running.pin(options.proxy_core())?;
        readings
    }
}
