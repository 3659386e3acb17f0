package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/project"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor/proc"
)

// socketVariable names the server's socket; --socket wins over it.
const socketVariable = "ZINIT_SOCKET"

// ourSystem is what projects are looked for by.
func ourSystem() project.System {
	dir, _ := rpc.System().ConfigDir()
	return project.Ours(dir)
}

// findProject looks for the project that the working directory is in, nil = none. One of another user counts only where a socket
// was named.
func (v *invocation) findProject() (*project.Project, error) {
	here, err := os.Getwd()
	if err == nil {
		_, err = os.Stat(here) // PWD may name a directory that is gone
	}
	var found project.Found
	if err == nil {
		found, err = ourSystem().Find(here, v.socket != "")
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, failf(exitFailed, "the working directory is gone, and with it the project it was in: cd into another one, or say --system or --socket PATH")
	case err != nil:
		return nil, failf(exitFailed, "cannot look for a project in %s: %v", here, cause(err))
	}
	return found.Project, nil
}

// where is the socket that --socket, ZINIT_SOCKET or the project name, "" = that of the machine or the user.
func (v *invocation) where() (string, error) {
	if v.socket != "" || v.system || os.Getenv(socketVariable) != "" {
		return v.socket, nil
	}
	p, err := v.findProject()
	if err != nil || p == nil {
		return "", err
	}
	v.project = p
	return p.Socket(), nil
}

// notProject makes the commands be about the machine or the user, also within a project and its services.
func (v *invocation) notProject() {
	v.system = true
	_ = os.Unsetenv(socketVariable)
}

// noServer is the error of a project that does not run.
type noServer struct {
	dir string
	err error
}

func (e *noServer) Error() string {
	return "the project " + e.dir + " is not running (start it: zinit up; for the server of the machine: --system)"
}

func (e *noServer) Unwrap() error { return e.err }

// projectDown says that it is a project of which the server does not answer.
func (v *invocation) projectDown(err error) error {
	if v.project == nil || !notReachable(err) {
		return err
	}
	return &noServer{shortHome(v.project.Dir), err}
}

// shortHome writes a path below the home directory with ~.
func shortHome(path string) string {
	home := os.Getenv("HOME")
	if home == "" {
		return path
	}
	if rel, err := filepath.Rel(home, path); err == nil && filepath.IsLocal(rel) && rel != "." {
		return "~/" + rel
	}
	return path
}

// definitions reads the files of the project, nil = there is none.
func (v *invocation) definitions() *confdir.Loaded {
	if p, err := v.findProject(); err == nil && p != nil {
		return confdir.Load(p.Configs, confdir.Options{EnvFile: proc.EnvFileValues})
	}
	return nil
}

// projectNames are the services and targets of the project, for completion.
func (v *invocation) projectNames() (names []string) {
	if loaded := v.definitions(); loaded != nil && v.project != nil {
		for _, c := range loaded.Configs {
			names = append(names, c.Name)
		}
	}
	return names
}

// profileNames are the profiles of the project.
func (v *invocation) profileNames() (names []string) {
	if loaded := v.definitions(); loaded != nil {
		for _, profiles := range loaded.Inactive() {
			names = append(names, profiles...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func projectCommands(v *invocation) []*cli.Command {
	return []*cli.Command{upCommand(v), downCommand(v), projectsCommand(v), initCommand(v)}
}

// projectRow is a project whose server answers, as -o json prints it.
type projectRow struct {
	Name     string `json:"name"`
	Dir      string `json:"dir"`
	Gone     bool   `json:"gone"` // the directory does not exist any more
	Socket   string `json:"socket"`
	PID      int    `json:"pid"`
	UptimeMS int64  `json:"uptime_ms"`
	Services int    `json:"services"`
	Running  int    `json:"running"`
	Failed   int    `json:"failed"`
}

// projectPatience is how long a project's server may take to say that it is there.
const projectPatience = 2 * time.Second

func projectsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "projects", Category: categoryProject, Usage: "the projects whose servers run",
		Description: "A project is a directory with a zinit.toml that has services in it, or with .zinit/. Within it every command talks to\n" +
			"its own server.",
		Action: v.named(0, 0, func(*cli.Context, []string) error {
			list := []projectRow{}
			var names []string
			for _, p := range ourSystem().List() {
				if r, ok := v.lookAt(p); ok {
					list, names = append(list, r), append(names, r.Name)
				}
			}
			return v.print(list, names, func() string { return v.projectsText(list) })
		}),
	}
}

// lookAt asks the server of a project, if there is one.
func (v *invocation) lookAt(p *project.Project) (projectRow, bool) {
	ctx, stop := context.WithTimeout(v.ctx, projectPatience)
	defer stop()
	client, err := rpc.Dial(ctx, p.Socket())
	if err != nil {
		return projectRow{}, false
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	s, err := client.SystemStatus(ctx)
	if err != nil {
		return projectRow{}, false
	}
	r := projectRow{Name: p.Name, Dir: p.Dir, Socket: p.Socket(), PID: s.PID, UptimeMS: s.UptimeMS, Running: s.Counts["running"], Failed: s.Counts["failed"]}
	for _, n := range s.Counts {
		r.Services += n
	}
	_, err = os.Stat(p.Dir)
	r.Gone = errors.Is(err, os.ErrNotExist)
	return r, true
}

func (v *invocation) projectsText(list []projectRow) string {
	if len(list) == 0 {
		if !v.quiet {
			v.note("no project is running (start one in its directory: zinit up)")
		}
		return ""
	}
	t := &table{style: v.out.style, width: v.out.width, columns: []column{{head: "DIRECTORY"}, {head: "SERVICES"}, {head: "PID"}, {head: "UPTIME"}, {head: "NAME"}}}
	for _, r := range list {
		services, color := itoa(int64(r.Running))+"/"+itoa(int64(r.Services))+" running", ""
		if r.Failed > 0 {
			services, color = services+", "+itoa(int64(r.Failed))+" failed", red
		}
		dir := cell{terminal.Escape(shortHome(r.Dir)), ""}
		if r.Gone {
			dir = cell{dir.text + " (gone; end it: zinit shutdown -s " + r.Socket + ")", yellow}
		}
		t.add(dir, cell{services, color}, cell{itoa(int64(r.PID)), ""}, cell{msText(r.UptimeMS), ""}, cell{r.Name, dim})
	}
	return t.String()
}
