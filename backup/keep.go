package backup

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Suffix ends the names of backups.
const Suffix = ".backup"

// scheduled begins the names of those that were made by themselves; only these are removed again.
const scheduled = "scheduled-"

// Name is a backup's file name, by which backups sort in time.
func Name(at time.Time, revision int64, bySchedule bool) string {
	begin := "saved-"
	if bySchedule {
		begin = scheduled
	}
	return fmt.Sprintf("%s%s-r%d%s", begin, at.UTC().Format("20060102T150405Z"), revision, Suffix)
}

// Time is when a backup of that name was made; zero when the name does not say.
func Time(name string) time.Time {
	text := strings.TrimPrefix(strings.TrimPrefix(name, scheduled), "saved-")
	text, _, _ = strings.Cut(text, "-")
	at, _ := time.Parse("20060102T150405Z", text) // zero is the answer
	return at
}

// Scheduled tells whether a backup of that name was made by itself.
func Scheduled(name string) bool {
	return strings.HasPrefix(name, scheduled) && strings.HasSuffix(name, Suffix)
}

// Surplus are those of the names that go when the newest keep of what was made by schedule stay.
func Surplus(names []string, keep int) []string {
	mine := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !Scheduled(n) })
	slices.Sort(mine)
	return mine[:max(0, len(mine)-keep)]
}
