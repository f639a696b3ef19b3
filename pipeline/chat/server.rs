//! The server of a language model, as the settings describe it. Whatever is said of it shows no password.

use std::net::IpAddr;
use std::time::Duration;

use dataset::{Error, Result};
use url::{Host, Url};

/// A day.
const LONGEST_TIMEOUT_S: f64 = 86_400.0;

/// Settings of a server, as a job has them.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings<'a> {
    /// What the settings' names begin with, such as `annotate.` or `score.judge_`.
    pub prefix: &'static str,
    /// The address, such as `http://localhost:8000/v1`.
    pub endpoint: &'a str,
    /// The model, as the server names it.
    pub model: &'a str,
    /// Requests at a time.
    pub concurrency: usize,
    /// Seconds until a request is given up.
    pub timeout_s: f64,
    /// How often a request is sent in all.
    pub attempts: u32,
    /// It may be on another machine.
    pub allow_remote_text: bool,
}

/// Where and how a language model is asked.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address, such as `http://localhost:8000/v1`.
    url: Url,
    /// The model, as the server names it.
    pub model: String,
    /// Requests at a time.
    pub(crate) concurrency: usize,
    /// When a request is given up.
    pub(crate) timeout: Duration,
    /// How often a request is sent in all.
    pub(crate) attempts: u32,
    /// It may be on another machine.
    pub(crate) remote: bool,
    /// What its settings' names begin with.
    prefix: &'static str,
}

impl Server {
    /// Checks the settings.
    ///
    /// # Errors
    /// Also when the address is not of this machine and texts must not leave it.
    pub fn new(settings: &ServerSettings<'_>) -> Result<Self> {
        let ServerSettings { prefix, endpoint, model, concurrency, timeout_s, attempts, allow_remote_text } = *settings;
        let (name, hint) = (|field: &str| format!("{prefix}{field}"), "leave it out for the default");
        if !(1..=1_000).contains(&concurrency) {
            return Err(Error::setting(&name("concurrency"), "1 to 1000", concurrency, hint));
        }
        if !(1..=1_000).contains(&attempts) {
            return Err(Error::setting(&name("attempts"), "1 to 1000", attempts, hint));
        }
        if !(0.001..=LONGEST_TIMEOUT_S).contains(&timeout_s) {
            return Err(Error::setting(&name("timeout_s"), "0.001 to 86400 seconds", timeout_s, hint));
        }
        if model.is_empty() {
            let expected = "the model's name, as the server knows it";
            return Err(Error::setting(&name("model"), expected, "nothing", "give it"));
        }
        Ok(Server {
            url: address(&name("endpoint"), endpoint, allow_remote_text)?,
            model: model.to_owned(),
            concurrency,
            timeout: Duration::from_secs_f64(timeout_s),
            attempts,
            remote: allow_remote_text,
            prefix,
        })
    }

    /// What a setting of its is called.
    pub(crate) fn setting(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// What is asked below its address.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url
    }

    /// Its address, whole: several may be on one host.
    pub fn address(&self) -> &str {
        self.url.as_str()
    }

    /// Its host.
    pub fn name(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

/// The address. What it is taken for when it is checked is what is connected to: no second reader of the setting.
fn address(setting: &str, endpoint: &str, remote: bool) -> Result<Url> {
    let wrong = |expected: &str, got: &str, hint: &str| Err(Error::setting(setting, expected, got, hint));
    let example = "for example http://localhost:8000/v1";
    let got = if endpoint.is_empty() { "nothing" } else { "something else" };
    let Ok(url) = Url::parse(endpoint) else {
        return wrong("the address of an OpenAI-compatible server", got, example);
    };
    let secret = !url.username().is_empty() || url.password().is_some();
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return wrong("http:// or https://", &format!("{}:", url.scheme()), example);
    }
    if secret || url.query().is_some() || url.fragment().is_some() {
        let expected = "an address without user, password, ? and #";
        return wrong(expected, "one with them", "a key is taken from the environment variable QUERENT_API_KEY");
    }
    if !remote && !is_loopback(&url) {
        let host = url.host_str().unwrap_or_default();
        return wrong("a server on this machine", host, "--allow-remote-text lets people's texts leave it");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
impl<'a> ServerSettings<'a> {
    /// A server for tests.
    pub(crate) fn local(endpoint: &'a str) -> Self {
        let (timeout_s, attempts) = (5.0, 1);
        ServerSettings {
            prefix: "annotate.",
            endpoint,
            model: "m",
            concurrency: 2,
            timeout_s,
            attempts,
            allow_remote_text: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> ServerSettings<'_> {
        ServerSettings::local(endpoint)
    }

    #[test]
    fn what_is_checked_is_what_is_asked() -> Result<()> {
        for (endpoint, url) in [
            ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions"),
            ("http://LOCALHOST:8000/v1/", "http://localhost:8000/v1/chat/completions"),
            ("http:localhost:8000", "http://localhost:8000/chat/completions"),
            ("https://[::1]/v1", "https://[::1]/v1/chat/completions"),
            ("http://0x7f.1:8000\\v1", "http://127.0.0.1:8000/v1/chat/completions"),
            ("http://localhost:8000\\@example.com/v1", "http://localhost:8000/@example.com/v1/chat/completions"),
        ] {
            assert_eq!(Server::new(&settings(endpoint))?.at("chat/completions").as_str(), url, "{endpoint}");
        }
        let remote = ServerSettings { allow_remote_text: true, ..settings("https://models.example/v1") };
        assert_eq!(Server::new(&remote)?.name(), "models.example");
        Ok(())
    }

    #[test]
    fn refused_addresses_are_usage_errors_without_what_is_secret_in_them() {
        for endpoint in [
            "http://someone:PLANTED@example.com/v1",
            "http://someone:PLANTED@127.0.0.1:8000/v1",
            "http://PLANTED@localhost/v1",
            "http://example.com/v1?key=PLANTED",
            "http://localhost/v1#PLANTED",
            "http://localhost@example.com/PLANTED",
            "http://someone:PLANTED@[::1",
            "ftp://someone:PLANTED@localhost/",
            "PLANTED",
            "http://example.com/PLANTED",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "",
        ] {
            let error = Server::new(&settings(endpoint)).expect_err(endpoint);
            assert_eq!(error.exit_code(), 2, "{endpoint}");
            assert!(!error.to_string().contains("PLANTED"), "{error}");
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_usage_errors() {
        let good = || settings("http://localhost/v1");
        for (wrong, setting) in [
            (ServerSettings { timeout_s: f64::NAN, ..good() }, "timeout_s"),
            (ServerSettings { timeout_s: 1e300, ..good() }, "timeout_s"),
            (ServerSettings { timeout_s: -1.0, ..good() }, "timeout_s"),
            (ServerSettings { concurrency: 0, ..good() }, "concurrency"),
            (ServerSettings { concurrency: 100_000, ..good() }, "concurrency"),
            (ServerSettings { attempts: 0, ..good() }, "attempts"),
            (ServerSettings { model: "", ..good() }, "model"),
        ] {
            let error = Server::new(&wrong).expect_err(setting);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}
