// Package wire holds the types of the JSON-RPC protocol: what travels, with the member names of zinit 0.3.9 where it
// had them. It imports nothing of ours, so that a client in another program can use it alone.
package wire

// State is a service's state as 0.3.9's clients read it: a tagged object.
type State struct {
	State         string   `json:"state"`                    // inactive blocked starting running stopping exited failed
	PID           *int     `json:"pid,omitempty"`            // starting, running, stopping (targets: 0)
	ExitCode      *int     `json:"exit_code,omitempty"`      // exited: always present there, null when signalled
	WaitingOn     []string `json:"waiting_on,omitempty"`     // blocked
	ConflictsWith []string `json:"conflicts_with,omitempty"` // blocked
	Reason        *Reason  `json:"reason,omitempty"`         // failed
}

// MarshalJSON is AppendJSON.
func (s State) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil), nil }

// Reason is why a service failed. Type is one of exit_code, signal, start_timeout, stop_timeout, health_check_failed,
// dependency_failed, spawn_error, missing_dependency; Kind and Detail are ours and finer.
type Reason struct {
	Type       string `json:"type"`
	Code       *int   `json:"code,omitempty"`
	Signal     *int   `json:"signal,omitempty"`
	Attempts   *int   `json:"attempts,omitempty"`
	Service    string `json:"service,omitempty"`
	Message    string `json:"message,omitempty"`
	Dependency string `json:"dependency,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Detail     string `json:"detail,omitempty"`
}

// Listed is one row of service.list_full.
type Listed struct {
	Name          string   `json:"name"`
	State         State    `json:"state"`
	IsTarget      bool     `json:"is_target"`
	UptimeMS      *int64   `json:"uptime_ms"` // null without a process
	Restarts      int      `json:"restarts"`
	NextRestartMS *int64   `json:"next_restart_ms"` // from now, null when none is pending
	Class         string   `json:"class"`
	Wanted        string   `json:"wanted"`                 // "up" or "down"
	Text          string   `json:"text"`                   // what it waits for or why it failed, "" otherwise
	MemoryBytes   *uint64  `json:"memory_bytes,omitempty"` // only when asked for with {"stats":true}
	CPUPercent    *float64 `json:"cpu_percent,omitempty"`
}

// Status is service.status: the short answer.
type Status struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	PID      int    `json:"pid"`
	ExitCode *int   `json:"exit_code,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Dependency is one edge in service.status_full.
type Dependency struct {
	Name      string `json:"name"`
	DepType   string `json:"dep_type"` // after requires wants conflicts (a binds edge is requires with Binds)
	Binds     bool   `json:"binds,omitempty"`
	State     State  `json:"state"`
	Satisfied bool   `json:"satisfied"`
	Missing   bool   `json:"missing,omitempty"`
}

// Exit is how the last process ended.
type Exit struct {
	Code   *int   `json:"code"`   // null when signalled or unknown
	Signal *int   `json:"signal"` // null when exited
	Text   string `json:"text"`   // "exited with code 1", "killed by SIGKILL (out of memory)", "exit status unknown"
	At     string `json:"at"`     // RFC 3339
}

// HealthStatus is the state of a health check.
type HealthStatus struct {
	Type        string `json:"type"`
	Target      string `json:"target"`
	Checks      int    `json:"checks"`
	FailuresRow int    `json:"failures_in_a_row"`
	LastOK      *bool  `json:"last_ok"` // null before the first
	LastDetail  string `json:"last_detail"`
	LastAt      string `json:"last_at"` // RFC 3339, "" before the first
}

// Process is one process of a service's tree.
type Process struct {
	PID         int    `json:"pid"`
	PPID        int    `json:"ppid"`
	Name        string `json:"name"`
	Cmdline     string `json:"cmdline"`
	State       string `json:"state"` // running sleeping disk-sleep stopped zombie
	MemoryBytes uint64 `json:"memory_bytes"`
	CPUMS       int64  `json:"cpu_ms"`
	Stray       bool   `json:"stray,omitempty"`
	Outside     bool   `json:"outside_cgroup,omitempty"` // it has moved out of its service's control group
}

// StatusFull is service.status_full: everything about one service.
type StatusFull struct {
	Name          string        `json:"name"`
	State         State         `json:"state"`
	IsTarget      bool          `json:"is_target"`
	Dependencies  []Dependency  `json:"dependencies"`
	UptimeSecs    *uint64       `json:"uptime_secs"`
	UptimeMS      *int64        `json:"uptime_ms"`  // as uptime_secs, finer: durations of ours are in ms
	StartedAt     string        `json:"started_at"` // RFC 3339, of the present or last process, "" before the first
	Since         string        `json:"since"`      // RFC 3339, of the state
	Wanted        string        `json:"wanted"`
	Due           bool          `json:"due"`
	Class         string        `json:"class"`
	Critical      bool          `json:"critical"`
	Oneshot       bool          `json:"oneshot"`
	StatusKey     string        `json:"status_key"` // start stop ignore
	Incarnation   uint64        `json:"incarnation"`
	PID           int           `json:"pid"`
	ReadyAt       string        `json:"ready_at"`
	Restarts      int           `json:"restarts"`
	MaxRestarts   int           `json:"max_restarts"`
	BackoffMS     int64         `json:"backoff_ms"`
	NextRestartMS *int64        `json:"next_restart_ms"`
	NextRestartAt string        `json:"next_restart_at"`
	LastExit      *Exit         `json:"last_exit"`
	Cause         string        `json:"cause"`               // one line: what service.why says first
	StatusText    string        `json:"status_text"`         // STATUS= of sd_notify
	Announced     string        `json:"announced,omitempty"` // "reloading", "stopping": what it said of itself by sd_notify
	Health        *HealthStatus `json:"health"`
	Job           *Job          `json:"job"` // null without a schedule
	Processes     []Process     `json:"processes"`
	MemoryBytes   uint64        `json:"memory_bytes"`
	CPUPercent    float64       `json:"cpu_percent"`
	Tracking      string        `json:"tracking"` // "cgroup" or "process group and /proc"
	Cgroup        string        `json:"cgroup"`
	Ports         []int         `json:"ports"`
	Source        string        `json:"source"`                    // file, "" when added at run time
	ChangedOnDisk string        `json:"changed_on_disk,omitempty"` // keys that a reload would change, or what became of the file
	Ephemeral     bool          `json:"ephemeral"`
	Warnings      []string      `json:"warnings"`
	Unkillable    bool          `json:"unkillable,omitempty"`
	OOM           bool          `json:"oom,omitempty"`
	Sinks         []Sink        `json:"sinks"`
	Log           []LogLine     `json:"log"` // the last 10 lines
}

// Sink is the state of a log file or a shipping destination of one service.
type Sink struct {
	Target   string `json:"target"`
	Delivery string `json:"delivery"` // what is known of written lines: written delivered sent
	Written  uint64 `json:"written_lines"`
	Lost     uint64 `json:"lost_lines"`
	Errors   uint64 `json:"errors"`
	Queued   uint64 `json:"queued_lines"`
	Last     string `json:"last_error"` // "" when the last attempt worked
}

// The values of Sink.Delivery.
const (
	Written   = "written"   // a file has them
	Delivered = "delivered" // the receiver said that it has them
	Sent      = "sent"      // the receiver cannot say so: its machine has them
)

// LogLine is one captured line. Content is UTF-8; bytes that are not are replaced by U+FFFD.
type LogLine struct {
	Content     string `json:"content"`
	Service     string `json:"service"`
	Stream      string `json:"stream"` // stdout stderr syslog
	TimestampMS int64  `json:"timestamp_ms"`
	Seq         uint64 `json:"seq"`
	PID         int    `json:"pid"`
	Continued   bool   `json:"continued,omitempty"` // cut at 64 KiB; the next line goes on
	Severity    string `json:"severity,omitempty"`  // of a syslog message, and of zinit's own: emerg alert crit err warning notice info debug
	Facility    string `json:"facility,omitempty"`  // of the same: kern user mail daemon …
}

// Children is service.children.
type Children struct {
	Children []Child `json:"children"`
}

// Child is one process below the main process.
type Child struct {
	PID         int    `json:"pid"`
	Name        string `json:"name"`
	MemoryBytes uint64 `json:"memory_bytes"`
}

// Stats is service.stats, of the whole tree.
type Stats struct {
	PID         int     `json:"pid"`
	MemoryBytes uint64  `json:"memory_bytes"`
	CPUPercent  float64 `json:"cpu_percent"`
}

// Why is service.why.
type Why struct {
	Name            string        `json:"name"`
	Blocked         bool          `json:"blocked"`
	WaitingOn       []string      `json:"waiting_on"`
	ConflictsWith   []string      `json:"conflicts_with"`
	PortConflict    *PortConflict `json:"port_holder,omitempty"`    // port_conflict itself is a text, as in 0.3.9
	ProcessConflict *PortConflict `json:"process_holder,omitempty"` // process_conflict as in 0.3.9 stands beside it
	ASCII           string        `json:"ascii"`
	Cause           []CauseLink   `json:"cause"` // from the service down to the root cause
}

// PortConflict is who holds a port or matches a process filter.
type PortConflict struct {
	Port    int    `json:"port,omitempty"`
	Filter  string `json:"filter,omitempty"`
	PID     int    `json:"pid"`
	Process string `json:"process"`
	Service string `json:"service,omitempty"`
}

// CauseLink is one step of a cause chain.
type CauseLink struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Text  string `json:"text"`
}

// Tree is service.tree.
type Tree struct {
	ASCII string     `json:"ascii"`
	Nodes []TreeNode `json:"nodes"`
}

// TreeNode is one service in a tree, with its edges.
type TreeNode struct {
	Name         string       `json:"name"`
	State        State        `json:"state"`
	IsTarget     bool         `json:"is_target"`
	Dependencies []Dependency `json:"dependencies"`
}

// OK is the answer of a plain change. Pending is true when it was taken over and is not finished.
type OK struct {
	OK      bool   `json:"ok"`
	Pending bool   `json:"pending,omitempty"`
	State   *State `json:"state,omitempty"`   // with wait: the state reached
	Outcome string `json:"outcome,omitempty"` // with wait: done failed blocked timed_out superseded
	Text    string `json:"text,omitempty"`    // with wait: why, for people
	// KilledAfterMS is how long after the stop signal SIGKILL was needed, 0 = it was not.
	KilledAfterMS int64 `json:"killed_after_ms,omitempty"`
	// LeftRunning are processes that a stop has left running, as kill_mode = "process" says.
	LeftRunning []LeftProcess `json:"left_running,omitempty"`

	// ChangedOnDisk: of start and restart, as in StatusFull: what was started is the loaded definition.
	ChangedOnDisk string `json:"changed_on_disk,omitempty"`

	Removed // of service.remove
}

// LeftProcess is a process that a stop has left running.
type LeftProcess struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// Removed is what became of the files of services that were removed.
type Removed struct {
	Deleted []string `json:"deleted_files,omitempty"`
	Kept    []string `json:"kept_files,omitempty"` // the next reload brings their services back
}

// Removal is how a service is removed.
type Removal struct {
	Cascade bool // with everything that requires or binds it
	Files   FilesChoice
}

// FilesChoice says which files of removed services are deleted.
type FilesChoice string

// The choices.
const (
	FilesAll     FilesChoice = "all"     // every one, as 0.3.9 does
	FilesWritten FilesChoice = "written" // those that the server wrote itself and nobody has changed since
)

// Added is the answer of service.add and service.set.
type Added struct {
	Name     string   `json:"name"`
	Path     *string  `json:"path"` // null when not persisted
	Warnings []string `json:"warnings"`
	Pending  bool     `json:"pending,omitempty"` // taken over and not finished within 4 s
}

// Plan is the answer of service.plan and service.reload.
type Plan struct {
	Added        []string     `json:"added"`
	Removed      []string     `json:"removed"`
	Changed      []string     `json:"changed"`
	ConfigErrors []Problem    `json:"config_errors"`
	Actions      []PlanAction `json:"actions"`
	Pending      bool         `json:"pending,omitempty"` // taken over and not finished within 4 s
	Refused      string       `json:"refused,omitempty"` // service.plan only: why service.reload would change nothing at all
}

// PlanAction is what a reload does to one service.
type PlanAction struct {
	Name   string `json:"name"`
	Action string `json:"action"` // add start restart update stop remove keep
	Reason string `json:"reason"`
}

// Problem is one thing wrong with a configuration file.
type Problem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`   // 0 = unknown
	Column   int    `json:"column"` // 0 = unknown
	Service  string `json:"service"`
	Severity string `json:"severity"` // error warning note
	Message  string `json:"message"`
}

// Bulk is the answer of start_all, stop_all and delete_all; the key of Names is the verb's participle.
type Bulk struct {
	Started []string `json:"started,omitempty"`
	Stopped []string `json:"stopped,omitempty"`
	Deleted []string `json:"deleted,omitempty"`
	Count   int      `json:"count"`
	Pending bool     `json:"pending,omitempty"` // taken over and not finished within 4 s

	Removed // of delete_all
}

// Waited is the answer of service.wait.
type Waited struct {
	States []Listed `json:"states"`
}

// Event is one transition.
type Event struct {
	Seq     uint64 `json:"seq"`
	Time    string `json:"time"` // RFC 3339 with ms
	Service string `json:"service"`
	From    string `json:"from"`
	To      string `json:"to"`
	Cause   string `json:"cause"`
	By      string `json:"by,omitempty"`
	Text    string `json:"text"` // one readable line
	PID     int    `json:"pid,omitempty"`
}

// Events is the answer of events.get.
type Events struct {
	Events []Event `json:"events"`
	Next   uint64  `json:"next"`   // since for the next call
	Missed uint64  `json:"missed"` // events that are not kept any more
}

// Ending is what the stop of everything waits for.
type Ending struct {
	Waiting []string `json:"waiting"` // services that have been told to end and have not
	Cut     []string `json:"cut"`     // services that get less time to stop than their stop_timeout allows
	Text    string   `json:"text"`    // one line for people, "" when nothing is waited for
}

// Ping is system.ping.
type Ping struct {
	Version  string   `json:"version"`
	PID      int      `json:"pid"`
	UptimeMS int64    `json:"uptime_ms"`
	Mode     string   `json:"mode"` // machine container keeper server
	Features []string `json:"features"`
	Ending   *Ending  `json:"ending,omitempty"` // while everything is being stopped
}

// SystemStatus is system.status, the overview.
type SystemStatus struct {
	Version       string         `json:"version"`
	PID           int            `json:"pid"`
	UptimeMS      int64          `json:"uptime_ms"`
	Mode          string         `json:"mode"`
	ConfigDirs    []string       `json:"config_dirs"`
	Socket        string         `json:"socket"`
	Tracking      string         `json:"tracking"` // how processes are kept together: cgroup path or why not
	Counts        map[string]int `json:"counts"`   // by state
	Failed        []CauseLink    `json:"failed"`
	Blocked       []CauseLink    `json:"blocked"`
	Problems      []Problem      `json:"problems"` // of the configuration
	Strays        []Process      `json:"strays"`
	ServerStarts  int            `json:"server_starts"` // 1 + crashes and upgrades survived
	LastCrash     string         `json:"last_crash"`    // what ended the server before this one, "" = nothing
	RolledBack    string         `json:"rolled_back"`   // set when an upgrade was taken back
	LastUpgrade   *LastUpgrade   `json:"last_upgrade,omitempty"`
	ShuttingDown  bool           `json:"shutting_down"`
	LogArenaBytes uint64         `json:"log_arena_bytes"`
	Sinks         []Sink         `json:"sinks"`
}

// Upgrade is system.upgrade: the executable was checked and is about to be executed. What comes of it is
// SystemStatus.LastUpgrade with the same ID.
type Upgrade struct {
	OK   bool   `json:"ok"`
	From string `json:"from"`
	To   string `json:"to"`
	ID   uint64 `json:"id"`
}

// LastUpgrade is the upgrade that was begun last, and what came of it.
type LastUpgrade struct {
	ID      uint64 `json:"id"` // from 1 on
	Path    string `json:"path"`
	From    string `json:"from"`
	To      string `json:"to"`
	Outcome string `json:"outcome"`          // "under way", "done", "failed", "rolled back"
	Reason  string `json:"reason,omitempty"` // why it failed or was rolled back
}

// PrepareRestart is 0.3.9's system.prepare_restart.
type PrepareRestart struct {
	Ready     bool   `json:"ready"`
	StatePath string `json:"state_path"`
}

// Output is a plain text answer of debug.*.
type Output struct {
	Output string `json:"output"`
}

// Follow is one notification of logs.follow: lines, and how many were missed before them.
type Follow struct {
	Lines   []LogLine `json:"lines"`
	Missed  uint64    `json:"missed"`
	Service string    `json:"service,omitempty"` // whose lines were missed
}

// Boot is system.boot: the time line of the start, in milliseconds from the kernel's time zero on a machine, else from
// the server's start.
type Boot struct {
	KernelMS float64       `json:"kernel_ms"` // when pid1 ran, 0 when not PID 1
	PID1MS   float64       `json:"pid1_ms"`   // when pid1 had done its part and started the server, 0 when not PID 1
	ServerMS float64       `json:"server_ms"`
	LoadedMS float64       `json:"loaded_ms"` // configuration loaded
	DoneMS   float64       `json:"done_ms"`   // last service ready, 0 = not yet
	Services []BootService `json:"services"`
	Critical []string      `json:"critical_chain"` // from the last one ready back to the first
}

// BootService is one service's part of the time line, -1 = did not happen.
type BootService struct {
	Name    string  `json:"name"`
	DueMS   float64 `json:"due_ms"`
	StartMS float64 `json:"start_ms"`
	ReadyMS float64 `json:"ready_ms"`
	Waited  string  `json:"waited_for"` // the dependency that was satisfied last
}

// XinetConfig is the definition of a socket proxy.
type XinetConfig struct {
	Name             string   `json:"name"`
	Listen           []string `json:"listen"` // "unix:PATH", "/PATH", "HOST:PORT"
	Backend          string   `json:"backend"`
	Service          string   `json:"service"`
	ConnectTimeout   uint64   `json:"connect_timeout,omitempty"` // s
	IdleTimeout      uint64   `json:"idle_timeout,omitempty"`    // s, 0 = never
	SingleConnection bool     `json:"single_connection,omitempty"`
}

// XinetStatus is the state of one proxy.
type XinetStatus struct {
	Name              string   `json:"name"`
	Listen            []string `json:"-"` // listen: one text as in 0.3.9; listen_addrs: the list
	Backend           string   `json:"backend"`
	Service           string   `json:"service"`
	Running           bool     `json:"running"`
	Connections       uint64   `json:"connections"`
	ActiveConnections uint64   `json:"active_connections"`
	TotalConnections  uint64   `json:"total_connections"`
	BytesIn           uint64   `json:"bytes_to_backend"`
	BytesOut          uint64   `json:"bytes_from_backend"`
}

// Job is one service with a schedule, as jobs.list has it.
type Job struct {
	Name      string        `json:"name"`
	State     string        `json:"state"`
	Wanted    string        `json:"wanted"` // "down": it is stopped and does not run
	Schedules []JobSchedule `json:"schedules"`
	NextAt    string        `json:"next_at"`    // RFC 3339, "" = it is not due again, or not before the present run has ended
	LeftMS    *int64        `json:"left_ms"`    // until then
	RunningMS *int64        `json:"running_ms"` // of the present run, null = none
	Queued    int           `json:"queued"`     // runs that wait for it, or for their turn
	Last      *JobRun       `json:"last"`       // the last run that has ended, null = none is known
}

// JobSchedule is when a job runs.
type JobSchedule struct {
	Kind     string `json:"kind"` // cron, calendar, every, boot
	Text     string `json:"text"`
	Timezone string `json:"timezone"` // "" = the system's
	Overlap  string `json:"overlap"`
	CatchUp  bool   `json:"catch_up"`
}

// JobRun is one run of a job, or one that was due and left out.
type JobRun struct {
	Incarnation uint64 `json:"incarnation"` // 0 = left out, or it could not begin
	BeganAt     string `json:"began_at"`    // or when it was due
	EndedAt     string `json:"ended_at"`    // "" = it goes on, or its end is not known
	TookMS      int64  `json:"took_ms"`
	Cause       string `json:"cause"`
	Code        *int   `json:"code"`
	Signal      *int   `json:"signal"`
	Failed      string `json:"failed"`   // why it counts as failed, "" = it does not
	LeftOut     string `json:"left_out"` // the rule that left it out
}

// Run is the answer of service.run: how the run of a oneshot ended.
type Run struct {
	OK          bool   `json:"ok"` // it exited with 0
	Pending     bool   `json:"pending,omitempty"`
	Outcome     string `json:"outcome"`     // done failed blocked superseded removed; "" while it is pending
	Incarnation uint64 `json:"incarnation"` // that the run ended with, 0 = it could not begin
	BeganAt     string `json:"began_at"`    // RFC 3339, of its last attempt; "" = it could not begin
	TookMS      int64  `json:"took_ms"`
	Code        *int   `json:"code"`     // null when signalled, unknown, or never begun
	Signal      *int   `json:"signal"`   // null when exited
	LogNext     uint64 `json:"log_next"` // the sequence number after its last line
	State       State  `json:"state"`
	Text        string `json:"text"` // why, for people
}

// RunLog is the answer of jobs.log: what one run of a job has written.
type RunLog struct {
	Run     JobRun    `json:"run"`
	Lines   []LogLine `json:"lines"`
	Missing string    `json:"missing"` // what is not kept any more, "" = all is there
}

// Metrics is the answer of metrics.get.
type Metrics struct {
	ContentType string `json:"content_type"`
	Text        string `json:"text"`
}
