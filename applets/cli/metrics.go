package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
)

func metricsCommand(v *invocation) *cli.Command {
	return &cli.Command{
		Name: "metrics", Category: categoryLook, Usage: "everything that is counted and measured, for Prometheus",
		Description: "OpenMetrics 1.0, or with --format prometheus the text format 0.0.4. The counters begin with each server.",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "format", Value: "openmetrics", Usage: "print as `FORMAT`: openmetrics or prometheus"}},
		Action: v.withClient(0, 0, func(c *cli.Context, client *rpc.Client, _ []string) error {
			format := c.String("format")
			if format != "openmetrics" && format != "prometheus" {
				return usagef("unknown format %q: want openmetrics or prometheus", format)
			}
			got, err := client.Metrics(v.ctx, format)
			if err != nil {
				return err
			}
			return v.print(got, nil, func() string { return got.Text })
		}),
	}
}
