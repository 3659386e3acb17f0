package graph

import "time"

// Config is the definition of one service or target with every default filled in. It is what a TOML file
// becomes and what the supervisor runs; it is immutable once it stands in a Graph.
type Config struct {
	Name     string
	Target   bool // a target has no process: only Name, Critical and Deps count
	Critical bool // PID 1 only: failing for good is shown on the console
	Class    Class
	Status   Status
	Profiles []string // loaded only where one of them is chosen, nil = always

	Exec   Command
	Expand bool              // $NAME, ${NAME} and $$ are replaced in the arrays of exec, hooks and exec checks
	Dir    string            // "" = the server's own working directory
	Env    map[string]string // added to the server's environment, nil = none
	// EnvFiles are read at every start, later ones win; a leading '-' means that a file may be missing.
	EnvFiles  []string
	EnvFormat EnvFormat
	// EnvFromFile maps variables to the files that hold their values, Credentials names to the files that are copied into
	// $CREDENTIALS_DIRECTORY. Both are read at every start.
	EnvFromFile map[string]string
	Credentials map[string]string
	Dirs        [NDirs]Dir // what is made for it, by DirKind
	Oneshot     bool
	Schedules   []Schedule // when it runs by itself; then it is a oneshot

	Ports          []uint16
	KillOthers     bool
	ProcessFilters []string

	Ready    Ready
	Identity Identity
	Tty      string // path of the terminal that becomes stdin, stdout and stderr, "" = none

	Reload      Reload
	PIDFile     string
	PreStart    Hook
	PostStop    Hook
	StopCommand Hook
	Watchdog    time.Duration // 0 = none

	Deps      Deps
	Lifecycle Lifecycle
	Health    *Health // nil = no check
	Logging   Logging
	Cgroup    Cgroup

	Source    string // the file it was read from, "" = added over RPC without persist
	Ephemeral bool   // added over RPC without persist: a reload does not remove it
}

// Command is a command line: either one string, split or handed to a shell as supervisor/proc decides, or an argument
// vector that is executed as it stands, unless Config.Expand says that variables are replaced in it.
type Command struct {
	Line string   // the string form, "" when Argv is used
	Argv []string // the array form, nil when Line is used
}

// IsZero reports whether no command was given.
func (c Command) IsZero() bool { return c.Line == "" && len(c.Argv) == 0 }

// Hook is a command that runs beside the main process, with its own time limit.
type Hook struct {
	Command Command
	Timeout time.Duration // > 0 when Command is set
}

// DirKind is one of the places for the directories of a service (systemd.exec(5), RuntimeDirectory= and its siblings).
type DirKind uint8

// The kinds, with the places of root and of other users.
const (
	DirRuntime DirKind = iota // /run, $XDG_RUNTIME_DIR; removed when the service has ended
	DirState                  // /var/lib, $XDG_STATE_HOME
	DirCache                  // /var/cache, $XDG_CACHE_HOME
	DirLogs                   // /var/log, $XDG_STATE_HOME/log
	NDirs
)

// String returns the key of the file: "runtime_dir" and so on.
func (k DirKind) String() string { return wordOf(dirKeys, k) }

// Dir is the value of a key such as runtime_dir.
type Dir struct {
	Names []string // relative paths below the place, nil = none
	Mode  uint32   // permission bits of the innermost directories
}

// EnvFormat is how an env_file is read; see supervisor/proc.
type EnvFormat uint8

// The formats of env files. None of them replaces a $.
const (
	EnvDotenv  EnvFormat = iota // as docker compose documents its .env
	EnvSh                       // the quoting of sh(1)
	EnvSystemd                  // as systemd's EnvironmentFile=
)

// Class says whether the bulk operations (start_all, stop_all, delete_all) reach a service.
type Class uint8

// The classes.
const (
	ClassUser   Class = iota
	ClassSystem       // immune to bulk operations
)

// Status says what happens to a service at load.
type Status uint8

// The statuses of docs/design/states.md 6.
const (
	StatusStart  Status = iota // wanted up at load
	StatusStop                 // wanted down at load; an explicit start works
	StatusIgnore               // never started, pulled in or restarted by the supervisor
)

// Restart is the restart policy.
type Restart uint8

// The restart policies.
const (
	RestartOnFailure Restart = iota
	RestartAlways
	RestartNever
)

// OnExit says what the end for good of a service means for the whole stack.
type OnExit uint8

// What can follow the end of a service.
const (
	OnExitContinue OnExit = iota
	OnExitShutdown        // stop everything and exit with this service's code
)

// KillMode says which processes of a service a stop reaches, in systemd's words.
type KillMode uint8

// The kill modes.
const (
	KillControlGroup KillMode = iota // the stop signal and SIGKILL go to all of them
	KillMixed                        // the stop signal to the main process; SIGKILL to all when it has ended or is late
	KillProcess                      // only to the main process: the rest is left
)

// Deps are the dependencies of a service by name, as written.
type Deps struct {
	After, Requires, Wants, Conflicts, Binds []string
}

// Lifecycle holds the timing and restart rules.
type Lifecycle struct {
	Restart         Restart
	RestartSet      bool          // the file says restart = …; only then does it count for a oneshot
	RestartDelay    time.Duration // 0 = the first at once, then from 100 ms
	RestartDelayMax time.Duration // >= RestartDelay
	MaxRestarts     int           // 0 = unlimited
	StabilityPeriod time.Duration // 0 = every run is stable
	StartTimeout    time.Duration // 0 = none
	StopTimeout     time.Duration // > 0
	StopSignal      Signal
	KillMode        KillMode
	SuccessCodes    []int // exit codes that count as 0; 0 itself is always in it
	OnExit          OnExit
}

// Success reports whether exit code counts as a success.
func (l *Lifecycle) Success(code int) bool {
	for _, c := range l.SuccessCodes {
		if c == code {
			return true
		}
	}
	return code == 0
}

// ReadyKind is how a service says that it is ready.
type ReadyKind uint8

// The ways to be ready. Without one, a service with a health check is ready at the first pass and one without at exec.
const (
	ReadyNone ReadyKind = iota
	ReadyNotify
	ReadyFD
)

// Ready is the value of the ready key: "notify" or "fd:N".
type Ready struct {
	Kind ReadyKind
	FD   int // descriptor number for ReadyFD, >= 3
}

// HealthType is the kind of a health check.
type HealthType uint8

// The kinds of health check.
const (
	HealthTCP HealthType = iota
	HealthHTTP
	HealthExec
)

// HealthMethod is the method of the request of an HTTP check.
type HealthMethod uint8

// The methods of an HTTP check.
const (
	MethodGet HealthMethod = iota
	MethodHead
)

// StatusRange is a closed range of HTTP status codes.
type StatusRange struct{ Low, High int }

// Health is the health check of a service. All durations are > 0 except StartPeriod.
type Health struct {
	Type         HealthType
	Target       string        // host:port, URL, or a command line (see Exec)
	Exec         Command       // for HealthExec
	Method       HealthMethod  // for HealthHTTP
	ExpectStatus []StatusRange // for HealthHTTP; default 200
	Interval     time.Duration
	Timeout      time.Duration
	Retries      int // > 0
	StartPeriod  time.Duration
	TLSVerify    bool
}

// Logging says where output goes.
type Logging struct {
	BufferLines int    // > 0
	BufferBytes int    // > 0
	File        string // "" = none
	RotateBytes int64  // > 0
	RotateKeep  int    // >= 0
	RotateGzip  bool   // compress rotated files
	FileFormat  FileFormat
	Forward     Forward

	// SyslogMaxBytes is the most that one syslog message of Forward has, its header included: MinSyslogBytes to
	// MaxSyslogBytes.
	SyslogMaxBytes int
}

// The bounds of Logging.SyslogMaxBytes in bytes. RFC 5424 (section 6.1): every receiver takes 480, and should take 2048;
// rsyslog takes 8192 by default.
const (
	MinSyslogBytes     = 480
	DefaultSyslogBytes = 2048
	MaxSyslogBytes     = 8192
)

// FileFormat is how a line stands in the file of [logging].
type FileFormat uint8

// The formats of log files.
const (
	FilePlain FileFormat = iota // the line as it was written
	FileTime                    // with the time before it
	FileJSON                    // an object, with the members that forwarded lines have
)

// Forward is the value of the forward key: absent (the server's default), false, true or a URL.
type Forward struct {
	Set bool   // the key is present
	On  bool   // true: the default sink, or URL when that is set
	URL string // "" = the default sink
}

// Identity is what a process is and may do. Pointers are nil when the file does not say.
type Identity struct {
	User, Group     string   // name or number, "" = the server's own
	Groups          []string // supplementary groups, nil = those of User
	Umask           *int
	Nice            *int
	OOMScoreAdj     *int
	Limits          []Limit // sorted by name
	NoNewPrivileges bool
	Capabilities    *Capabilities
}

// Limit is one resource limit of getrlimit(2).
type Limit struct {
	Name       string // lower case, without RLIMIT_: "nofile", "core", …
	Soft, Hard uint64 // ^uint64(0) = infinity
}

// Capabilities are names as in capabilities(7), upper case with CAP_. nil Bounding = unchanged.
type Capabilities struct {
	Bounding []string
	Ambient  []string
}

// Reload is what signal-reload does: a signal (default SIGHUP) or a command.
type Reload struct {
	Signal  Signal
	Command Command
}

// Cgroup holds the limits of the [cgroup] section in the form the kernel's files take, "" = not set.
type Cgroup struct {
	MemoryMax, MemoryHigh, CPUMax, PidsMax, IOWeight string
}

// IsZero reports whether no limit is set.
func (c Cgroup) IsZero() bool { return c == Cgroup{} }
