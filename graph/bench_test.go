package graph

import (
	"fmt"
	"testing"
)

// shapes are the big graphs of the benchmarks: n services each.
var shapes = map[string]func(n int) []*Config{
	"chain": func(n int) []*Config {
		configs := make([]*Config, n)
		for i := range configs {
			configs[i] = &Config{Name: fmt.Sprintf("s%05d", i)}
			if i > 0 {
				configs[i].Deps.Requires = []string{configs[i-1].Name}
			}
		}
		return configs
	},
	"layers": func(n int) []*Config {
		configs := make([]*Config, n)
		for i := range configs {
			configs[i] = &Config{Name: fmt.Sprintf("s%05d", i)}
			for j := range 3 {
				if i >= 100 {
					configs[i].Deps.Requires = append(configs[i].Deps.Requires, configs[i-i%100-100+(i+j*7)%100].Name)
				}
			}
		}
		return configs
	},
	"fan": func(n int) []*Config {
		configs := make([]*Config, n)
		top := &Config{Name: "top", Target: true}
		for i := range n - 1 {
			configs[i] = &Config{Name: fmt.Sprintf("s%05d", i)}
			top.Deps.Requires = append(top.Deps.Requires, configs[i].Name)
			top.Deps.After = append(top.Deps.After, configs[i].Name)
		}
		configs[n-1] = top
		return configs
	},
	"ring": func(n int) []*Config {
		configs := make([]*Config, n)
		for i := range configs {
			configs[i] = &Config{Name: fmt.Sprintf("s%05d", i), Deps: Deps{Requires: []string{fmt.Sprintf("s%05d", (i+1)%n)}}}
		}
		return configs
	},
	"conflicts": func(n int) []*Config {
		configs := make([]*Config, n)
		for i := range configs {
			configs[i] = &Config{Name: fmt.Sprintf("s%05d", i)}
			if i > 1 {
				configs[i].Deps = Deps{Requires: []string{configs[i-2].Name}, Conflicts: []string{configs[i-1].Name}}
			}
		}
		return configs
	},
	"missing": func(n int) []*Config {
		configs := make([]*Config, n)
		for i := range configs {
			configs[i] = &Config{Name: fmt.Sprintf("s%05d", i), Deps: Deps{Requires: []string{fmt.Sprintf("t%05d", i)}}}
		}
		return configs
	},
}

func BenchmarkNew10000(b *testing.B) {
	for name, make := range shapes {
		configs := make(10_000)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				New(configs, nil)
			}
		})
	}
}

func BenchmarkDiff10000(b *testing.B) {
	for name, make := range shapes {
		old, new := New(make(10_000), nil), New(make(10_000), nil)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Diff(old, new, nil, nil)
			}
		})
	}
}
