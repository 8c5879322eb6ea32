//! File descriptors: every session takes two, and most systems hand out 1024 unless asked for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::LimitsSpec;

/// Beside sessions and logins: listeners, the admin listener's clients, the runtime, files being
/// read, a name being looked up.
const MARGIN: u64 = 128;

/// Asks for as many descriptors as the process may have, and says so if they may not suffice.
pub(super) fn provide(limits: &LimitsSpec) {
    let given = raise();
    if let Some(Short { needed, given }) = Short::of(limits, given) {
        tracing::warn!(
            needed,
            given,
            "too few file descriptors for [limits] sessions and logins: raise them (systemd: \
             LimitNOFILE={needed}; a shell: ulimit -Hn {needed}), or lower the limits"
        );
    }
}

/// Raises the soft limit to the hard one. Returns what is in force then; none is without limit.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        // Some systems name no limit and have one all the same; then the soft one is what counts.
        Err(_) => current,
    }
}

/// That there may be too few.
#[derive(Debug, PartialEq, Eq)]
struct Short {
    needed: u64,
    given: u64,
}

impl Short {
    /// A session is two sockets, a login one.
    fn of(limits: &LimitsSpec, given: Option<u64>) -> Option<Self> {
        let needed = 2 * u64::from(limits.sessions) + u64::from(limits.logins) + MARGIN;
        let given = given?;
        (given < needed).then_some(Self { needed, given })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits() -> LimitsSpec {
        let toml = "[limits]\nsessions = 500\nlogins = 100\n[project.acme]\nhosts = [\"a.example\"]\n\
                    allow = [\"nowhere\"]\nbackend = \"/run/pg\"\n";
        Config::parse(toml, "proxy.toml".as_ref()).unwrap().limits
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let given = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, given), (maximum, maximum));
    }

    #[test]
    fn a_limit_below_two_a_session_and_one_a_login_is_told_with_both_figures() {
        let needed = 2 * 500 + 100 + MARGIN;
        let limits = limits();
        assert_eq!(Short::of(&limits, None), None);
        assert_eq!(Short::of(&limits, Some(needed)), None);
        let given = needed - 1;
        assert_eq!(
            Short::of(&limits, Some(given)),
            Some(Short { needed, given })
        );
    }
}
