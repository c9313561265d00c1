//! Connection strings and sessions against a real server, with PostgreSQL's own psql as the judge.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::mpsc,
    thread,
    time::Duration,
};

use backup_core::{Error, ErrorKind, Result};
use backup_pg::{
    conninfo::{Conninfo, Environment},
    session::{Session, explain},
};
use tempfile::TempDir;

/// Who the server takes the client for, and how it came.
const WHO: &str = "select current_user || '|' || current_database() || '|' || \
     case when inet_server_port() is null then 'socket' else 'tcp' end || '|' || \
     (select case when ssl then 'ssl' else 'plain' end from pg_stat_ssl where pid = pg_backend_pid())";

/// A password with every sign that some syntax has to escape.
const ODD_PASSWORD: &str = r#"p:w\ 'x"@/%&=#,"#;

/// A server that asks for passwords, with TLS and a certificate for `localhost` only, and a folder for the client.
struct Server {
    kit: support::Server,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        // The server reads its certificates here.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        authority(folder.path(), "ca", "authority");
        signed(folder.path(), "server", "unused", &["-extfile", "ext"], "subjectAltName=DNS:localhost");
        let authorities = format!("ssl_ca_file={}", folder.path().join("ca.crt").display());
        let kit = support::Server::with(15, &["ssl=on", &authorities]);
        let server = Self { kit, folder };
        server.write_home("nothing-of-use", "", 0o600);
        server.populate();
        server.kit.admit(
            "hostssl all certified all cert\nhostssl all plainonly all reject\n\
             hostnossl all tlsonly all reject\nhost all refused all reject\n\
             local all all scram-sha-256\nhost all all all scram-sha-256",
        );
        // This restarts it, too: a reload takes effect some time later.
        server.show_certificate("server");
        server
    }

    fn populate(&self) {
        let me = Environment::of_process().user.unwrap();
        let mut roles = vec![("owner", "owner-secret"), ("od:d us@er", ODD_PASSWORD)];
        roles.extend(["certified", "plainonly", "tlsonly", "refused", &me].map(|role| (role, "role-secret")));
        for (role, password) in roles {
            let password = password.replace('\'', "''");
            self.kit
                .psql("postgres", &format!("create role \"{role}\" superuser login password '{password}'"));
        }
        for name in ["owner", "stocks", "host=nowhere dbname=x", "sp ace/sl'ash\\", &me] {
            self.kit.create_database(name, "");
        }
        self.kit.psql("postgres", "alter role owner set work_mem = '5MB'; alter role refused nosuperuser");
    }

    /// Gives the server another certificate.
    fn show_certificate(&self, name: &str) {
        // Written over, the files keep the owner the server insists on.
        for kind in ["crt", "key"] {
            let bytes = fs::read(self.path(&format!("{name}.{kind}"))).unwrap();
            fs::write(self.kit.certificate().with_extension(kind), bytes).unwrap();
        }
        self.kit.restart();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Fills in `{port}`, `{socket}` (its folder), `{dir}` (the client's) and `{odd}` (the password as in a URI).
    fn fill(&self, text: &str) -> String {
        let odd: String = ODD_PASSWORD.bytes().map(|byte| format!("%{byte:02x}")).collect();
        text.replace("{port}", &self.kit.port().to_string())
            .replace("{dir}", &self.folder.path().display().to_string())
            .replace("{socket}", &self.kit.socket_folder().display().to_string())
            .replace("{odd}", &odd)
    }

    /// An environment with this home folder and nothing else from the process.
    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), self.fill(value)));
        Environment {
            variables: variables.collect(),
            home: Some(self.path("home")),
            user: Environment::of_process().user,
        }
    }

    fn write_home(&self, name: &str, text: &str, mode: u32) {
        let path = self.path("home").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, self.fill(text)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn connect(&self, text: &str, variables: &[(&str, &str)]) -> Result<Session> {
        let conninfo = Conninfo::parse(&self.fill(text))?;
        Session::connect(&conninfo.resolve(&self.environment(variables))?, "backup", &[])
    }

    /// Who our session turns out to be, or the refusal.
    fn we_are(&self, text: &str, variables: &[(&str, &str)]) -> Result<String> {
        let mut session = self.connect(text, variables)?;
        let ssl = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let is_encrypted: bool = session.client().query_one(ssl, &[]).unwrap().get(0);
        assert_eq!(session.is_encrypted(), is_encrypted);
        Ok(session.client().query_one(WHO, &[]).unwrap().get(0))
    }

    /// Who psql turns out to be, or what it says.
    fn psql_is(&self, text: Option<&str>, environment: &Environment) -> Result<String, String> {
        let mut command = Command::new(self.kit.bin().join("psql"));
        command.env_clear().envs(&environment.variables).env("HOME", environment.home.as_ref().unwrap());
        command.args(["-X", "-w", "-At", "-v", "ON_ERROR_STOP=1", "-c", WHO]).current_dir("/");
        text.iter().for_each(|text| _ = command.args(["-d", text]));
        let output = command.output().unwrap();
        if output.status.success() { Ok(stdout(&output)) } else { Err(stderr(&output)) }
    }

    /// Everybody must come out as `expected`, or be refused: psql, our session, and psql as our child.
    fn judge(&self, text: &str, variables: &[(&str, &str)], expected: &str) {
        let case = format!("{text:?} with {variables:?}");
        let filled = self.fill(text);
        let environment = self.environment(variables);
        let psql = self.psql_is((filled != "postgres:").then_some(&filled), &environment);
        let ours = self.we_are(text, variables);
        if expected == "refused" {
            assert!(psql.is_err(), "psql took {case}: {psql:?}");
            assert!(ours.is_err(), "we took {case}: {ours:?}");
            return;
        }
        assert_eq!(psql.as_deref(), Ok(expected), "psql, {case}");
        assert_eq!(ours.as_deref().map_err(|e| format!("{e:?}")), Ok(expected), "our session, {case}");
        let conninfo = Conninfo::parse(&filled).unwrap();
        let mut environment = environment;
        if let Some(password) = conninfo.password() {
            environment.variables.insert("PGPASSWORD".to_owned(), password.reveal().to_owned());
        }
        assert!(!conninfo.for_child().contains("secret"), "{case}");
        let child = self.psql_is(Some(&conninfo.for_child()), &environment);
        assert_eq!(child.as_deref(), Ok(expected), "a child, {case}");
    }
}

/// Makes a self-signed certificate, which may sign others.
fn authority(folder: &Path, name: &str, subject: &str) {
    openssl(folder, name, subject, &["-x509", "-days", "2", "-out", &format!("{name}.crt")]);
}

/// Makes a certificate that "ca" signs; without a file of extensions it is of X.509 version 1.
fn signed(folder: &Path, name: &str, subject: &str, extension: &[&str], extensions: &str) {
    let (csr, crt) = (format!("{name}.csr"), format!("{name}.crt"));
    openssl(folder, name, subject, &["-out", &csr]);
    fs::write(folder.join("ext"), extensions).unwrap();
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-in", &csr, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]);
    run(command.args(["-days", "2", "-out", &crt]).args(extension).current_dir(folder));
}

fn openssl(folder: &Path, name: &str, subject: &str, rest: &[&str]) {
    let (key, subject) = (format!("{name}.key"), format!("/CN={subject}"));
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-subj", &subject]);
    run(command.args(rest).current_dir(folder));
    fs::set_permissions(folder.join(key), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Makes the authority's list of revoked certificates, with one or none on it.
fn revoke(folder: &Path, name: &str, certificate: Option<&str>) {
    let configuration = "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncrlnumber=number.txt\ndefault_md=sha256\n\
         default_crl_days=2\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n";
    fs::write(folder.join("number.txt"), "01\n").unwrap();
    fs::write(folder.join("ca.cnf"), configuration).unwrap();
    fs::write(folder.join("index.txt"), "").unwrap();
    let ca = |rest: &[&str]| {
        let by = ["ca", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt"];
        run(Command::new("openssl").args(by).args(rest).current_dir(folder));
    };
    certificate.iter().for_each(|certificate| ca(&["-revoke", certificate]));
    ca(&["-gencrl", "-out", &format!("{name}.crl")]);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn everything(error: &Error) -> String {
    format!("{error:?}")
}

#[test]
fn psql_and_we_read_connection_strings_alike() {
    let server = Server::start();
    let me = Environment::of_process().user.unwrap();
    let owner = [("PGPASSWORD", "owner-secret")];
    let local = [("PGHOST", "{socket}"), ("PGPORT", "{port}"), ("PGPASSWORD", "role-secret")];
    for (text, variables, expected) in [
        // URIs.
        (
            "postgres://owner:owner-secret@127.0.0.1:{port}/stocks",
            &[] as &[(&str, &str)],
            "owner|stocks|tcp|ssl",
        ),
        ("postgresql://owner@127.0.0.1:{port}/stocks", &owner, "owner|stocks|tcp|ssl"),
        ("postgres://owner@127.0.0.1:{port}", &owner, "owner|owner|tcp|ssl"),
        ("postgres://owner@127.0.0.1:{port}/stocks?sslmode=disable", &owner, "owner|stocks|tcp|plain"),
        (
            "postgres://127.0.0.1/stocks?user=owner&port={port}&password=owner-secret",
            &[],
            "owner|stocks|tcp|ssl",
        ),
        ("postgres://od%3Ad%20us%40er:{odd}@127.0.0.1:{port}/stocks", &[], "od:d us@er|stocks|tcp|ssl"),
        ("postgres://owner:owner-secret@:{port}/stocks?host={socket}", &[], "owner|stocks|socket|plain"),
        (
            "postgres://owner@nohost:1/no?host=127.0.0.1&port={port}&dbname=stocks",
            &owner,
            "owner|stocks|tcp|ssl",
        ),
        (
            "postgres://owner@/sp%20ace%2Fsl'ash%5C?hostaddr=127.0.0.1&port={port}",
            &owner,
            "owner|sp ace/sl'ash\\|tcp|ssl",
        ),
        (
            "postgres://owner@/host%3Dnowhere%20dbname%3Dx?host=127.0.0.1&port={port}",
            &owner,
            "owner|host=nowhere dbname=x|tcp|ssl",
        ),
        ("postgres://owner@127.0.0.1:1,127.0.0.1:{port}/stocks", &owner, "owner|stocks|tcp|ssl"),
        ("postgres://owner@127.0.0.1:{port}/stocks?ssl=true", &owner, "owner|stocks|tcp|ssl"),
        (
            "postgres://owner@127.0.0.1:{port}/stocks?target_session_attrs=primary",
            &owner,
            "owner|stocks|tcp|ssl",
        ),
        (
            "postgres://owner@127.0.0.1:{port}/stocks?target_session_attrs=prefer-standby",
            &owner,
            "owner|stocks|tcp|ssl",
        ),
        // Keywords and values.
        (
            "host=127.0.0.1 port={port} user=owner dbname=stocks password=owner-secret",
            &[],
            "owner|stocks|tcp|ssl",
        ),
        ("host = '{socket}' port= {port}\tuser =owner dbname=stocks", &owner, "owner|stocks|socket|plain"),
        (
            r"hostaddr=127.0.0.1 port={port} user=od:d\ us@er dbname='sp ace/sl\'ash\\'",
            &[("PGPASSWORD", ODD_PASSWORD)],
            "od:d us@er|sp ace/sl'ash\\|tcp|ssl",
        ),
        ("host=localhost hostaddr=127.0.0.1 port={port} user=owner dbname=''", &owner, "owner|owner|tcp|ssl"),
        (
            "host=127.0.0.1,{socket} port=1,{port} user=owner dbname=stocks",
            &owner,
            "owner|stocks|socket|plain",
        ),
        ("user=owner requiressl=1 host=127.0.0.1 port={port}", &owner, "owner|owner|tcp|ssl"),
        // The environment.
        ("postgres:", &local, &format!("{me}|{me}|socket|plain")),
        ("postgres://", &local, &format!("{me}|{me}|socket|plain")),
        ("postgres:///stocks", &local, &format!("{me}|stocks|socket|plain")),
        ("dbname=stocks", &local, &format!("{me}|stocks|socket|plain")),
        (
            "postgres:",
            &[
                ("PGHOST", "127.0.0.1"),
                ("PGPORT", "{port}"),
                ("PGUSER", "owner"),
                ("PGPASSWORD", "owner-secret"),
                ("PGDATABASE", "stocks"),
                ("PGSSLMODE", "disable"),
            ],
            "owner|stocks|tcp|plain",
        ),
        (
            "postgres:",
            &[
                ("PGHOSTADDR", "127.0.0.1"),
                ("PGPORT", "{port}"),
                ("PGUSER", "owner"),
                ("PGPASSWORD", "owner-secret"),
                ("PGREQUIRESSL", "1"),
            ],
            "owner|owner|tcp|ssl",
        ),
        (
            "postgres://owner@127.0.0.1:{port}/stocks?sslmode=require",
            &[
                ("PGSSLMODE", "disable"),
                ("PGUSER", "no"),
                ("PGDATABASE", "no"),
                ("PGHOST", "no"),
                ("PGPORT", "1"),
                ("PGPASSWORD", "owner-secret"),
            ],
            "owner|stocks|tcp|ssl",
        ),
        (
            "postgres://owner:owner-secret@127.0.0.1:{port}/stocks",
            &[("PGPASSWORD", "wrong")],
            "owner|stocks|tcp|ssl",
        ),
        // Refused by everybody.
        ("postgres://owner:wrong@127.0.0.1:{port}/stocks", &owner, "refused"),
        ("postgres://owner@127.0.0.1:{port}/nosuch", &owner, "refused"),
        ("postgres://owner@127.0.0.1:{port}/stocks", &[], "refused"),
        ("postgres://owner@127.0.0.1:{port}/stocks?sslmode=on", &owner, "refused"),
        ("postgres://owner@127.0.0.1:{port}/stocks?statement_cache=1", &owner, "refused"),
        ("postgres://owner@127.0.0.1:{port}/stocks?target_session_attrs=standby", &owner, "refused"),
        (
            "postgres://owner@127.0.0.1:{port}/stocks?channel_binding=require&sslmode=disable",
            &owner,
            "refused",
        ),
        ("postgres://owner@127.0.0.1:{port}/stocks?connect_timeout=soon", &owner, "refused"),
        ("postgres://owner@127.0.0.1,127.0.0.1:{port}:1/stocks", &owner, "refused"),
        ("host=127.0.0.1,127.0.0.1 port={port},{port},{port} user=owner", &owner, "refused"),
        ("host=127.0.0.1,127.0.0.1 hostaddr=127.0.0.1 port={port} user=owner", &owner, "refused"),
        ("host=127.0.0.1 port=70000 user=owner", &owner, "refused"),
        ("host=127.0.0.1 port={port} user owner", &owner, "refused"),
        ("host=127.0.0.1 port={port} user=owner dbname='stocks", &owner, "refused"),
        ("host=127.0.0.1 port={port} user='' dbname=stocks", &owner, "refused"),
        ("postgres://owner:a/b@127.0.0.1:{port}/stocks", &owner, "refused"),
        ("postgres://owner:a@b@127.0.0.1:{port}/stocks", &owner, "refused"),
        ("postgres://owner%zz@127.0.0.1:{port}/stocks", &owner, "refused"),
    ] {
        server.judge(text, variables, expected);
    }
}

#[test]
fn psql_and_we_find_the_same_passwords_and_services() {
    let server = Server::start();
    let to = "postgres://owner@127.0.0.1:{port}/stocks";
    let good =
        "# passwords\n127.0.0.1:{port}:nosuch:owner:no\n*:{port}:stocks:owner:owner-secret\n*:*:*:*:no\n";
    server.write_home(".pgpass", good, 0o600);
    server.judge(to, &[], "owner|stocks|tcp|ssl");
    server.judge("postgres://owner@127.0.0.1:{port}/owner", &[], "refused");
    server.judge("postgres://owner:wrong@127.0.0.1:{port}/stocks", &[], "refused");
    server.judge(to, &[("PGPASSWORD", "wrong")], "refused");
    server.judge(to, &[("PGPASSWORD", "")], "owner|stocks|tcp|ssl");
    server.judge(to, &[("PGPASSFILE", "{dir}/home/nothing")], "refused");

    server.write_home("odd", r"127.0.0.1:{port}:*:od\:d us@er:p\:w\\ 'x", 0o600);
    let text = fs::read_to_string(server.path("home/odd")).unwrap();
    fs::write(server.path("home/odd"), text + r#""@/%&=#,"#).unwrap();
    let odd = "postgres://od%3Ad%20us%40er@127.0.0.1:{port}/stocks";
    server.judge(odd, &[("PGPASSFILE", "{dir}/home/odd")], "od:d us@er|stocks|tcp|ssl");
    server.judge(&format!("{odd}?passfile={{dir}}/home/odd"), &[], "od:d us@er|stocks|tcp|ssl");
    server.judge("postgres://owner@/stocks?hostaddr=127.0.0.1&port={port}", &[], "owner|stocks|tcp|ssl");
    server.judge("postgres://owner@/stocks?host={socket}&port={port}", &[], "owner|stocks|socket|plain");

    server.write_home(
        ".pg_service.conf",
        "[first]\nhost=nowhere\n\n[live]\nhost=127.0.0.1\nport={port}\nuser=owner\ndbname=owner\nsslmode=disable\n\
         password=owner-secret\nhost=nowhere\n[more]\nuser=no\n[broken]\nhots=x\n",
        0o644,
    );
    server.judge("service=live", &[], "owner|owner|tcp|plain");
    server.judge("postgres:///stocks?service=live&sslmode=require", &[], "owner|stocks|tcp|ssl");
    server.judge(
        "postgres:",
        &[("PGSERVICE", "live"), ("PGUSER", "no"), ("PGHOST", "no")],
        "owner|owner|tcp|plain",
    );
    server.judge("service=nosuch", &[], "refused");
    server.judge("service=broken", &[], "refused");
    server.judge("service=live", &[("PGSERVICEFILE", "{dir}/home/nothing")], "refused");
    fs::rename(server.path("home/.pg_service.conf"), server.path("home/pg_service.conf")).unwrap();
    server.judge("service=live", &[("PGSYSCONFDIR", "{dir}/home")], "owner|owner|tcp|plain");
    server.judge("service=live", &[("PGSERVICEFILE", "{dir}/home/pg_service.conf")], "owner|owner|tcp|plain");

    server.write_home(".pgpass", good, 0o644);
    server.judge(to, &[], "refused");
    let resolved = Conninfo::parse(&server.fill(to)).unwrap().resolve(&server.environment(&[])).unwrap();
    assert!(resolved.warnings.concat().contains("can be read by others"), "{:?}", resolved.warnings);
    let error = server.connect(to, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint().unwrap().contains(".pgpass"), "{error:?}");
}

#[test]
fn psql_and_we_check_certificates_alike() {
    let server = Server::start();
    let folder = server.folder.path();
    authority(folder, "other", "other authority");
    signed(folder, "client", "certified", &["-extfile", "ext"], "basicConstraints=CA:FALSE");
    let owner = [("PGPASSWORD", "owner-secret")];
    let by_address = "postgres://owner@127.0.0.1:{port}/stocks?sslmode=";
    let by_name = "postgres://owner@localhost:{port}/stocks?hostaddr=127.0.0.1&sslmode=";
    let ssl = "owner|stocks|tcp|ssl";
    for (rest, address, name) in [
        ("require", ssl, ssl),
        ("require&channel_binding=require", ssl, ssl),
        ("verify-ca", "refused", "refused"),
        ("verify-full&sslrootcert={dir}/missing.crt", "refused", "refused"),
        ("verify-ca&sslrootcert={dir}/ca.crt", ssl, ssl),
        ("verify-full&sslrootcert={dir}/ca.crt", "refused", ssl),
        ("verify-ca&sslrootcert={dir}/other.crt", "refused", "refused"),
        ("require&sslrootcert={dir}/other.crt", "refused", "refused"),
        ("require&sslrootcert={dir}/missing.crt", ssl, ssl),
        ("prefer&sslrootcert={dir}/other.crt", "owner|stocks|tcp|plain", "owner|stocks|tcp|plain"),
        ("allow", "owner|stocks|tcp|plain", "owner|stocks|tcp|plain"),
        ("require&ssl_min_protocol_version=TLSv1.3", ssl, ssl),
        ("require&ssl_max_protocol_version=TLSv1.2", ssl, ssl),
        ("require&sslsni=0", ssl, ssl),
    ] {
        server.judge(&format!("{by_address}{rest}"), &owner, address);
        server.judge(&format!("{by_name}{rest}"), &owner, name);
    }
    server.judge(
        "hostaddr=127.0.0.1 port={port} user=owner sslmode=verify-full sslrootcert={dir}/ca.crt",
        &owner,
        "refused",
    );
    let system = server.connect(&format!("{by_name}verify-full&sslrootcert=system"), &owner).unwrap_err();
    assert!(
        system.hint().unwrap().contains("sslrootcert"),
        "a private authority is not the system's: {system:?}"
    );
    revoke(folder, "nothing", None);
    revoke(folder, "revoked", Some("server.crt"));
    for (list, expected) in [("nothing", ssl), ("revoked", "refused"), ("missing", ssl)] {
        let rest = format!("verify-full&sslrootcert={{dir}}/ca.crt&sslcrl={{dir}}/{list}.crl");
        server.judge(&format!("{by_name}{rest}"), &owner, expected);
    }
    let role = [("PGPASSWORD", "role-secret")];
    for (user, mode, expected) in [
        ("tlsonly", "allow", "tlsonly|stocks|tcp|ssl"),
        ("tlsonly", "disable", "refused"),
        ("plainonly", "prefer", "plainonly|stocks|tcp|plain"),
        ("plainonly", "require", "refused"),
        ("refused", "prefer", "refused"),
    ] {
        server.judge(&format!("postgres://{user}@127.0.0.1:{{port}}/stocks?sslmode={mode}"), &role, expected);
    }
    let certified = "postgres://certified@127.0.0.1:{port}/stocks?sslmode=require";
    server.judge(certified, &role, "refused");
    fs::copy(server.path("client.crt"), server.path("home/client.crt")).unwrap();
    fs::copy(server.path("client.key"), server.path("home/client.key")).unwrap();
    let with = format!("{certified}&sslcert={{dir}}/home/client.crt&sslkey={{dir}}/home/client.key");
    server.judge(&with, &[], "certified|stocks|tcp|ssl");
    fs::set_permissions(server.path("home/client.key"), fs::Permissions::from_mode(0o644)).unwrap();
    server.judge(&with, &[], "refused");
    server.write_home(".postgresql/root.crt", &fs::read_to_string(server.path("ca.crt")).unwrap(), 0o644);
    server.judge(&format!("{by_name}verify-full"), &owner, ssl);
    server.write_home(".postgresql/root.crt", &fs::read_to_string(server.path("other.crt")).unwrap(), 0o644);
    server.judge(&format!("{by_name}require"), &owner, "refused");
    fs::remove_file(server.path("home/.postgresql/root.crt")).unwrap();
}

#[test]
fn certificates_as_people_make_them_are_taken() {
    let server = Server::start();
    let folder = server.folder.path();
    let owner = [("PGPASSWORD", "owner-secret")];
    let by_address = "postgres://owner@127.0.0.1:{port}/stocks?sslmode=";
    let by_name = "postgres://owner@localhost:{port}/stocks?hostaddr=127.0.0.1&sslmode=";
    let ssl = "owner|stocks|tcp|ssl";
    // Without alternative names.
    signed(folder, "nameless", "localhost", &["-extfile", "ext"], "basicConstraints=CA:FALSE");
    server.show_certificate("nameless");
    server.judge(&format!("{by_name}verify-full&sslrootcert={{dir}}/ca.crt"), &owner, ssl);
    server.judge(&format!("{by_address}verify-full&sslrootcert={{dir}}/ca.crt"), &owner, "refused");
    authority(folder, "self", "localhost");
    server.show_certificate("self");
    server.judge(&format!("{by_name}verify-full&sslrootcert={{dir}}/self.crt"), &owner, ssl);
    server.judge(&format!("{by_address}verify-full&sslrootcert={{dir}}/self.crt"), &owner, "refused");
    server.judge(&format!("{by_address}verify-ca&sslrootcert={{dir}}/self.crt"), &owner, ssl);
    server.judge(&format!("{by_address}verify-ca&sslrootcert={{dir}}/ca.crt"), &owner, "refused");
    // Of X.509 version 1.
    signed(folder, "old", "localhost", &[], "");
    server.show_certificate("old");
    server.judge(&format!("{by_address}prefer"), &owner, ssl);
    server.judge(&format!("{by_address}require&channel_binding=require"), &owner, ssl);
    // psql takes this one; we say why we cannot.
    let error =
        server.connect(&format!("{by_name}verify-ca&sslrootcert={{dir}}/ca.crt"), &owner).unwrap_err();
    assert!(error.hint().unwrap().contains("X.509 version 1"), "{error:?}");
}

#[test]
fn refusals_say_what_to_do_and_hold_no_password() {
    let server = Server::start();
    let owner = [("PGPASSWORD", "owner-secret")];
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = format!("postgres://owner:owner-secret@127.0.0.1:{free}/stocks");
    for (text, variables, kind, message, why) in [
        (
            "postgres://owner:wrong-secret@127.0.0.1:{port}/stocks",
            &[] as &[_],
            ErrorKind::Denied,
            "could not connect to database \"stocks\" on 127.0.0.1:{port} as \"owner\"",
            "28P01",
        ),
        (
            "postgres://refused:x-secret@127.0.0.1:{port}/stocks",
            &[],
            ErrorKind::Denied,
            "as \"refused\"",
            "pg_hba.conf",
        ),
        (
            "postgres://owner@127.0.0.1:{port}/no%22such",
            &owner,
            ErrorKind::NotFound,
            "there is no database \"no\"such\" on 127.0.0.1:{port}",
            "3D000",
        ),
        (
            "postgres://owner@/nosuch?host={socket}&port={port}",
            &owner,
            ErrorKind::NotFound,
            "there is no database \"nosuch\" on {socket}",
            "3D000",
        ),
        (&gone, &[], ErrorKind::Unavailable, "could not connect", "refused"),
        (
            "postgres://owner@/stocks?host=/nowhere",
            &owner,
            ErrorKind::Unavailable,
            "/nowhere/.s.PGSQL.5432",
            "No such file",
        ),
        (
            "postgres://owner@127.0.0.1:{port}/stocks?requirepeer=postgres",
            &owner,
            ErrorKind::Unsupported,
            "requirepeer=postgres",
            "",
        ),
        (
            "postgres://owner@127.0.0.1:{port}/stocks?dbnam=x",
            &owner,
            ErrorKind::Invalid,
            "\"dbnam\"",
            "\"dbname\"",
        ),
        ("postgres:stocks", &owner, ErrorKind::Invalid, "postgres:", "postgres:///stocks"),
        ("stocks", &owner, ErrorKind::Invalid, "\"stocks\"", "postgres://user@host/database"),
    ] {
        let error = server.connect(text, variables).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error:?}");
        assert!(error.to_string().contains(&server.fill(message)), "{text}: {error:?}");
        assert!(everything(&error).contains(why), "{text}: {error:?}");
        assert!(error.hint().is_some(), "{text}: {error:?}");
        assert!(!everything(&error).contains("secret"), "{text}: {error:?}");
    }
    let both = format!("postgres://owner@127.0.0.1:{free},127.0.0.1:1/stocks");
    let error = server.connect(&both, &owner).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for server in [format!("127.0.0.1:{free}: "), "127.0.0.1:1: ".to_owned()] {
        assert!(error.causes().concat().contains(&server), "{error:?}");
    }
    let conninfo = Conninfo::parse(&gone).unwrap();
    let resolved = conninfo.resolve(&server.environment(&owner)).unwrap();
    let shown = format!(
        "{conninfo} {conninfo:?} {resolved:?} {:?} {}",
        server.environment(&owner),
        conninfo.for_child()
    );
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(conninfo.display(), format!("postgres://owner@127.0.0.1:{free}/stocks"));
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("postgres://owner:x@{}/stocks?connect_timeout=2", silent.local_addr().unwrap());
    let environment = Environment::default();
    let error =
        Session::connect(&Conninfo::parse(&text).unwrap().resolve(&environment).unwrap(), "backup", &[]);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(everything(&error).contains("no answer in time"), "{error:?}");
}

/// What PgBouncer answers to a start-up message with options.
#[test]
fn a_pooler_that_refuses_options_is_named() {
    use std::io::{Read, Write};
    let pooler = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = pooler.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = pooler.accept().unwrap();
        let mut startup = [0; 1024];
        let _ = client.read(&mut startup).unwrap();
        let fields = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        client.write_all(&[b"E", &length[..], fields].concat()).unwrap();
        // Until the client has read it.
        let _ = client.read(&mut startup);
    });
    let text = format!("postgres://owner:x@{address}/stocks?sslmode=disable");
    let resolved = Conninfo::parse(&text).unwrap().resolve(&Environment::default()).unwrap();
    let error = Session::connect(&resolved, "backup", &[("statement_timeout", "0")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("directly"), "{error:?}");
}

#[test]
fn settings_beat_those_of_the_role_and_the_user() {
    let server = Server::start();
    let text =
        server.fill("postgres://owner:owner-secret@127.0.0.1:{port}/stocks?options=-c%20DateStyle%3DGerman");
    let resolved = Conninfo::parse(&text).unwrap().resolve(&server.environment(&[])).unwrap();
    let settings = [("work_mem", "7MB"), ("DateStyle", "ISO, DMY"), ("application_name", r"it's a \test")];
    let mut session = Session::connect(&resolved, "backup", &settings[..2]).unwrap();
    let mut show = |name: &str| -> String {
        session.client().query_one("select current_setting($1)", &[&name]).unwrap().get(0)
    };
    assert_eq!(show("work_mem"), "7MB");
    assert_eq!(show("DateStyle"), "ISO, DMY");
    assert_eq!(show("application_name"), "backup");
    assert!((150_000..160_000).contains(&session.server_version()));
    let pid: i32 = session.client().query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    assert_eq!(session.backend_pid(), pid);
    assert!(!session.is_in_recovery());
}

#[test]
fn a_query_is_cancelled_over_tls_and_the_session_lives_on() {
    let server = Server::start();
    let text = "postgres://owner:owner-secret@127.0.0.1:{port}/stocks?sslmode=require";
    let mut session = server.connect(text, &[]).unwrap();
    let mut watcher = server.connect(text, &[]).unwrap();
    let (handle, pid) = (session.cancel_handle(), session.backend_pid());
    let (sender, receiver) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        let outcome = session.client().batch_execute("select pg_sleep(600)");
        sender.send(session.client().query_one("select 1", &[]).is_ok()).unwrap();
        outcome
    });
    let running =
        "select count(*) from pg_stat_activity where pid = $1 and state = 'active' and query like '%sleep%'";
    while watcher.client().query_one(running, &[&pid]).unwrap().get::<_, i64>(0) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    handle.cancel().unwrap();
    let error = explain(sleeper.join().unwrap().unwrap_err(), "wait");
    assert!(everything(&error).contains("57014"), "{error:?}");
    assert!(receiver.recv().unwrap());
}

#[test]
fn a_closed_connection_a_lock_and_a_missing_table_are_told_apart() {
    let server = Server::start();
    let text = "postgres://owner:owner-secret@127.0.0.1:{port}/stocks";
    let (mut session, mut other) = (server.connect(text, &[]).unwrap(), server.connect(text, &[]).unwrap());
    let mut kind_of = |sql: &str| {
        let error = explain(session.client().batch_execute(sql).unwrap_err(), "run a query");
        assert_eq!(error.to_string(), "could not run a query");
        error.kind()
    };
    assert_eq!(kind_of("select * from nosuch"), ErrorKind::NotFound);
    other.client().batch_execute("create table t (i int)").unwrap();
    other.client().batch_execute("begin; lock table t").unwrap();
    assert_eq!(kind_of("do $$begin lock table t nowait; end$$"), ErrorKind::Busy);
    assert_eq!(kind_of("create database stocks"), ErrorKind::AlreadyExists);
    assert_eq!(kind_of("set role refused; create role x"), ErrorKind::Denied);
    let pid = session.backend_pid();
    other.client().execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    let error = explain(session.client().batch_execute("select 1").unwrap_err(), "run a query");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let error = explain(session.client().batch_execute("select 1").unwrap_err(), "run a query");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.causes().concat().contains("the server closed the connection"), "{error:?}");
}

#[test]
fn another_database_of_the_same_server_is_one_word_away() {
    let server = Server::start();
    let odd = "host=nowhere dbname=x";
    let conninfo = Conninfo::parse(&server.fill("postgres://owner@127.0.0.1:{port}/stocks")).unwrap();
    let other = conninfo.with_database(odd);
    let environment = server.environment(&[("PGPASSWORD", "owner-secret")]);
    let mut session = Session::connect(&other.resolve(&environment).unwrap(), "backup", &[]).unwrap();
    let name: String = session.client().query_one("select current_database()::text", &[]).unwrap().get(0);
    assert_eq!(name, odd);
    let child = server.psql_is(Some(&other.for_child()), &environment);
    assert_eq!(child.unwrap(), format!("owner|{odd}|tcp|ssl"));
}

#[test]
fn the_process_environment_is_read() {
    let environment = Environment::of_process();
    let id = Command::new("id").arg("-un").output().unwrap();
    assert_eq!(environment.user, Some(stdout(&id)));
    assert!(environment.home.is_some_and(|home| Path::new(&home).is_absolute()));
    let variables: BTreeMap<_, _> = std::env::vars().filter(|(name, _)| name.starts_with("PG")).collect();
    assert!(variables.iter().all(|(name, value)| environment.variables.get(name) == Some(value)));
}
