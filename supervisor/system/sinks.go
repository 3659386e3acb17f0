package system

import (
	"context"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/logfile"
	"github.com/zinit/zinit/supervisor/ship"
)

// sinks are where lines go beside the rings.
type sinks struct {
	files *logfile.Files
	ship  *ship.Shipper
}

func newSinks(y *System) *sinks {
	return &sinks{
		files: logfile.New(y.opt.Arena, logfile.Options{Report: func(service, path string, err error, lost uint64) {
			if err != nil {
				y.log.Error("cannot write a log file, it is tried again", "service", service, "file", path, "error", err)
			} else {
				y.log.Info("a log file is written again", "service", service, "file", path, "lost_lines", lost)
			}
		}}),
		ship: ship.New(y.opt.Arena, ship.Options{Report: func(target, service string, err error, lost uint64) {
			switch {
			case err != nil:
				y.log.Error("cannot ship logs, it is tried again", "to", target, "error", err)
			case service != "":
				y.log.Warn("lines were lost while a destination was down", "to", target, "service", service, "lost_lines", lost)
			default:
				y.log.Info("logs are shipped again", "to", target)
			}
		}}),
	}
}

// Direct implements loop.Lines.
func (y *System) Direct(c *graph.Config) {
	if c.Target {
		return
	}
	y.opt.Arena.Ring(c.Name, logring.Limits{Lines: c.Logging.BufferLines, Bytes: c.Logging.BufferBytes})
	var file *logfile.Config
	if l := &c.Logging; l.File != "" {
		file = &logfile.Config{Path: l.File, Rotate: l.RotateBytes, Keep: l.RotateKeep, Gzip: l.RotateGzip,
			Format: l.FileFormat}
	}
	y.sinks.files.Set(c.Name, file)
	if err := y.sinks.ship.Set(c.Name, forwardURL(c, &y.opt.Forward), c.Logging.SyslogMaxBytes); err != nil {
		y.log.Error("cannot ship the logs of a service", "service", c.Name, "error", err)
	}
}

// Undirect implements loop.Lines.
func (y *System) Undirect(name string) {
	y.sinks.files.Set(name, nil)
	_ = y.sinks.ship.Set(name, "", 0)
	y.opt.Arena.Drop(name)
}

// close lets files and destinations take the last lines, for a bounded time.
func (k *sinks) close() {
	ctx, stop := context.WithTimeout(context.Background(), sinkPatience)
	defer stop()
	k.files.Flush(ctx)
	k.ship.Flush(ctx)
	k.files.Close(ctx)
	k.ship.Close(ctx)
}

// forwardURL is where a service's lines go: what its file says, else the default of the settings.
func forwardURL(c *graph.Config, fallback *graph.Forward) string {
	f := c.Logging.Forward
	switch {
	case f.Set && !f.On:
		return ""
	case f.Set && f.URL != "":
		return f.URL
	case f.Set || fallback.On:
		return fallback.URL
	}
	return ""
}
