package cli

import (
	"context"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
)

func metricsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "metrics", Category: categoryLook, Usage: "everything that is counted and measured, for Prometheus",
		Description: "OpenMetrics 1.0, or with --format prometheus the text format 0.0.4. The counters begin with each server.\n" +
			"With --listen it serves them over HTTP at /metrics, in the format that the reader prefers, until it is ended.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: formatOpenMetrics, Usage: "print as `FORMAT`: openmetrics or prometheus"},
			&cli.StringFlag{Name: "listen", Usage: "serve them at `ADDRESS`: 127.0.0.1:9469, or unix:PATH"},
		},
		Action: v.named(0, 0, func(c *cli.Context, _ []string) error {
			format := c.String("format")
			switch {
			case format != formatOpenMetrics && format != formatPrometheus:
				return usagef("unknown format %q: want openmetrics or prometheus", format)
			case c.IsSet("listen") && c.IsSet("format"):
				return usagef("--listen and --format exclude each other: the reader says which format it wants")
			case c.IsSet("listen"):
				return v.serveMetrics(c.String("listen"))
			}
			client, err := v.client()
			if err != nil {
				return err
			}
			got, err := client.Metrics(v.ctx, format)
			if err != nil {
				return err
			}
			return v.print(got, nil, func() string { return got.Text })
		}),
	}
}

// The formats of metrics.get.
const (
	formatOpenMetrics = "openmetrics"
	formatPrometheus  = "prometheus"
)

// How long a reader of metrics may take.
const (
	scrapeHead  = 5 * time.Second
	scrapeWhole = 30 * time.Second
)

// serveMetrics answers readers until it is told to end.
func (v *invocation) serveMetrics(address string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		_ = removeStale(path)
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return failf(exitFailed, "cannot serve metrics: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", v.scraped)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: scrapeHead, WriteTimeout: scrapeWhole, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	v.note("serving metrics at " + listener.Addr().String() + ", path /metrics")
	stop := context.AfterFunc(v.ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); v.ctx.Err() == nil {
		return failf(exitFailed, "cannot serve metrics: %v", err)
	}
	return nil
}

// removeStale removes a socket that nobody serves any more.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return err
	}
	if c, err := net.Dial("unix", path); err == nil {
		return c.Close()
	}
	return os.Remove(path)
}

func (v *invocation) scraped(w http.ResponseWriter, r *http.Request) {
	format := preferred(r.Header.Values("Accept"))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Vary", "Accept")
	if format == "" {
		http.Error(w, "only application/openmetrics-text; version=1.0.0 and text/plain; version=0.0.4 are served", http.StatusNotAcceptable)
		return
	}
	client, err := rpc.DialDefault(r.Context(), v.socket)
	if err != nil {
		http.Error(w, describe(err), http.StatusServiceUnavailable)
		return
	}
	defer client.Close() //nolint:errcheck // nothing is left to send
	got, err := client.Metrics(r.Context(), format)
	if err != nil {
		http.Error(w, describe(err), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", got.ContentType)
	_, _ = io.WriteString(w, got.Text)
}

// preferred is the format that a reader wants most by its Accept headers, "" = neither. Who wants both as much, or says nothing,
// gets the older one, which everybody reads.
func preferred(accept []string) string {
	if len(accept) == 0 {
		return formatPrometheus
	}
	open, plain := weigh(accept, "application/openmetrics-text", "1.0.0"), weigh(accept, "text/plain", "0.0.4")
	switch {
	case open > plain:
		return formatOpenMetrics
	case plain > 0:
		return formatPrometheus
	}
	return ""
}

// weigh is how much a media type in a version is wanted: the q of the range that names it most closely (RFC 9110, 12.5.1).
func weigh(accept []string, media, version string) float64 {
	q, best := 0.0, -1
	for _, one := range strings.Split(strings.Join(accept, ","), ",") {
		got, params, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		kind, _, _ := strings.Cut(media, "/")
		close := map[string]int{"*/*": 0, kind + "/*": 1, media: 2}
		at, ok := close[got]
		if asked := params["version"]; !ok || asked != "" && asked != version {
			continue
		}
		if params["version"] != "" {
			at++
		}
		weight := 1.0
		if text, given := params["q"]; given {
			if weight, err = strconv.ParseFloat(text, 64); err != nil || weight < 0 || weight > 1 {
				continue
			}
		}
		if at > best || at == best && weight > q {
			q, best = weight, at
		}
	}
	return q
}
