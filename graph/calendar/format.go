package calendar

import (
	"strconv"
	"strings"
	"time"
)

// ZoneName is the zone that the expression names, "" = none, or UTC, which never changes.
func (c *Calendar) ZoneName() string {
	if c.zone == time.UTC {
		return ""
	}
	return c.zoneName
}

// In returns the same schedule with another zone in the place of the one that it names.
func (c *Calendar) In(zone *time.Location) *Calendar {
	moved := *c
	moved.zone = zone
	return &moved
}

// String is the normalized form, as systemd-analyze calendar prints it.
func (c *Calendar) String() string {
	var b strings.Builder
	if c.week != 0 && c.week != 1<<7-1 {
		c.writeWeekdays(&b)
		b.WriteByte(' ')
	}
	c.year.write(&b, 4, 1)
	b.WriteByte('-')
	c.month.write(&b, 2, 1)
	if c.fromEnd {
		b.WriteByte('~')
	} else {
		b.WriteByte('-')
	}
	c.day.write(&b, 2, 1)
	b.WriteByte(' ')
	c.hour.write(&b, 2, 1)
	b.WriteByte(':')
	c.minute.write(&b, 2, 1)
	b.WriteByte(':')
	c.micro.write(&b, 2, second)
	if c.zoneName != "" {
		b.WriteString(" " + c.zoneName)
	}
	return b.String()
}

// writeWeekdays writes three or more days in a row as a range.
func (c *Calendar) writeWeekdays(b *strings.Builder) {
	set := func(monday int) bool { return monday < 7 && c.week>>((monday+1)%7)&1 == 1 }
	name := func(monday int) string { return weekdayNames[(monday+1)%7][:3] }
	comma := ""
	for d := 0; d < 7; d++ {
		if !set(d) {
			continue
		}
		end := d
		for set(end + 1) {
			end++
		}
		b.WriteString(comma + name(d))
		switch {
		case end-d >= 2:
			b.WriteString(".." + name(end))
		case end > d:
			b.WriteString("," + name(end))
		}
		comma, d = ",", end
	}
}

func (c chain) write(b *strings.Builder, width, unit int) {
	if c == nil || unit == second && len(c) == 1 && c[0] == (span{0, -1, second}) {
		b.WriteByte('*')
		return
	}
	value := func(v, width int) {
		b.WriteString(padded(v/unit, width))
		if v%unit > 0 {
			b.WriteString("." + padded(v%unit, 6))
		}
	}
	for i, s := range c {
		if i > 0 {
			b.WriteByte(',')
		}
		value(s.start, width)
		if s.stop > 0 {
			b.WriteString("..")
			value(s.stop, width)
		}
		if s.step > 0 && (s.stop <= 0 || s.step != unit) {
			b.WriteByte('/')
			value(s.step, 1)
		}
	}
}

// padded is a number with zeros in front.
func padded(v, width int) string {
	text := strconv.Itoa(v)
	return strings.Repeat("0", max(0, width-len(text))) + text
}
