package loop

import (
	"context"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/logfile"
	"github.com/zinit/zinit/supervisor/ship"
)

// sinks are where lines go beside the rings.
type sinks struct {
	files *logfile.Files
	ship  *ship.Shipper
}

func newSinks(d *driver) *sinks {
	return &sinks{
		files: logfile.New(d.arena, logfile.Options{Report: func(service, path string, err error, lost uint64) {
			if err != nil {
				d.log.Error("cannot write a log file, it is tried again", "service", service, "file", path, "error", err)
			} else {
				d.log.Info("a log file is written again", "service", service, "file", path, "lost_lines", lost)
			}
		}}),
		ship: ship.New(d.arena, ship.Options{Report: func(target, service string, err error, lost uint64) {
			switch {
			case err != nil:
				d.log.Error("cannot ship logs, it is tried again", "to", target, "error", err)
			case service != "":
				d.log.Warn("lines were lost while a destination was down", "to", target, "service", service, "lost_lines", lost)
			default:
				d.log.Info("logs are shipped again", "to", target)
			}
		}}),
	}
}

// direct gives a service its ring, file and destination, before it can write a line.
func (d *driver) direct(c *graph.Config) {
	if c.Target {
		return
	}
	d.arena.Ring(c.Name, ringLimits(d.opt, c))
	var file *logfile.Config
	if l := &c.Logging; l.File != "" {
		file = &logfile.Config{Path: l.File, Rotate: l.RotateBytes, Keep: l.RotateKeep, Gzip: l.RotateGzip,
			Format: l.FileFormat}
	}
	d.sinks.files.Set(c.Name, file)
	if err := d.sinks.ship.Set(c.Name, forwardURL(c, &d.opt.Forward), c.Logging.SyslogMaxBytes); err != nil {
		d.log.Error("cannot ship the logs of a service", "service", c.Name, "error", err)
	}
}

// undirect ends file and destination of a service that is gone.
func (d *driver) undirect(name string) {
	d.sinks.files.Set(name, nil)
	_ = d.sinks.ship.Set(name, "", 0)
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
