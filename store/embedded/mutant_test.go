package embedded_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/store/storetest"
)

// mutants are stores with one line changed, and the tests that must not let it pass.
var mutants = []struct{ what, file, line, changed, tests string }{
	// The first two are what a slice of the tests has.
	{"a group is not synced", "pipeline.go", "if err == nil && g.durable {", "if false {", "TestPowerCutEverywhere"},
	{"a checksum of a value is not compared", "layout.go", "return value[4:], sum == binary.BigEndian.Uint32(value)", "return value[4:], sum != 1", "TestChecksum"},

	{"a record's checksum is not compared", "record.go", "if binary.BigEndian.Uint32(b[8:]) != recordSum(b, segment, offset) {", "if false {", "TestDamage"},
	{"a record's checksum is not over its place", "record.go", "sum := crc32.Update(0, castagnoli, place[:])", "sum := uint32(0)", "TestRecordOfElsewhere"},
	{"a value's checksum is not over its key", "layout.go", "sum := crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, value[4:])", "sum := crc32.Update(0, castagnoli, value[4:])", "TestChecksum"},
	{"a damaged revision of a key is believed", "recover.go", "if !ok || len(body) != 8 {", "if _ = ok; len(body) != 8 {", "TestChecksumOfRevision"},
	{"damage in the log is taken for a torn tail", "record.go", "ok && rec.synced > offset {", "false && ok && rec.synced > offset {", "TestDamage"},
	{"a segment's name is not synced", "log.go", "if err := l.folder.Sync(); err != nil {", "if err := error(nil); err != nil {", "TestPowerCutEverywhere"},
	{"a segment's beginning is not synced", "log.go", "\tif err := l.trySync(); err != nil {\n\t\treturn err", "\tif err := error(nil); err != nil {\n\t\treturn err", "TestPowerCutEverywhere"},
	{"a segment that ends is not synced", "pipeline.go", "if err := s.log.sync(); err != nil {", "if err := error(nil); err != nil {", "TestPowerCutEverywhere"},
	{"Close does not sync the log", "embedded.go", "err := s.log.sync()", "err := error(nil)", "TestPowerCutEverywhere"},
	{"a manifest's name is not synced", "gate.go", "if err := g.s.syncFolder(g.PathDir(name)); err != nil {", "if err := error(nil); err != nil {", "TestPowerCutEverywhere"},
	{"revisions are reserved without a sync", "commit.go", "\t\tg.durable = true\n", "", "TestPowerCutEverywhere"},
	{"the log goes before pebble has what it holds", "pipeline.go", "\t\tcase <-flushed:\n", "\t\tdefault:\n_ = flushed\n", "TestPowerCutEverywhere"},
	{"a start lets the log go before pebble has it", "recover.go", "\tcase <-flushed:\n", "\tdefault:\n_ = flushed\n", "TestPowerCutEverywhere"},
	{"lost revisions are not remembered", "recover.go", "\tif base > r.newest {\n", "\tif false {\n", "TestPowerCutEverywhere"},
	{"revisions go on where the log ends", "recover.go", "base := max(r.newest, r.limit)", "base := r.newest", "TestPowerCutEverywhere"},
	{"a leader syncs after it has shown", "lead.go", "records := s.carry(g)", "durable := g.durable\n\tg.durable = false\n\trecords := s.carry(g)\n\tif durable {\n\t\tdefer s.log.sync()\n\t}", "TestPowerCutEverywhere"},
	{"a leader does not carry", "lead.go", "records := s.carry(g)", "records := g.records\n\ts.logged = s.assigned\n\tg.records, g.sizes = nil, nil", "TestPowerCutEverywhere"},
	{"a leader is overtaken", "lead.go", "\ts.showing.Lock() // before anybody can carry what comes after g\n\tdefer s.showing.Unlock()\n", "", "TestLeaderIsNotOvertaken"},
	{"a leader takes what another carries", "lead.go", "return !s.carrying && s.inflight == 0", "return !s.carrying", "TestLeaderIsNotOvertaken"},
	{"whoever shows does not tell", "pipeline.go", "f.push(g.txns)", "_ = f", "TestStore"},
	{"a follower joins who has not seen all", "push.go", "f.at != r.newest || f.gone", "f.gone", "TestFollowerCatchesUp"},
	{"a follower is told after it left", "push.go", "if !f.gone {\n\t\tf.gone", "if true {\n\t\tf.gone", "TestStore"},
	{"a compaction is not in the log", "compact.go", "g.add(recordCompact, before, nil)", "g.add(recordSealed, 0, nil)", "TestPowerCutEverywhere"},
}

// A store that leaves out one sync or one checksum is caught by these tests: they run on it and must fail.
func TestMutants(t *testing.T) {
	seed := storetest.SeedNumber(t)
	some := mutants
	if os.Getenv("PROVE") == "" {
		some = mutants[:2]
	}
	for _, m := range some {
		t.Run(m.what, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(source), m.line) {
				t.Fatalf("%s has no %q", m.file, m.line)
			}
			here, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
			list, err := json.Marshal(map[string]map[string]string{"Replace": {here: changed}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(changed, []byte(strings.ReplaceAll(string(source), m.line, m.changed)), 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
				t.Fatal(err)
			}
			var out []byte
			for try := uint64(0); try < 5; try++ { // a slice of the crashes may leave out the one that shows it
				cmd := exec.Command("go", "test", "-overlay", overlay, "-count", "1", "-vet", "off", "-timeout", "5m", "-run", m.tests, ".")
				cmd.Env = append(os.Environ(), "PROVE=", "LIGHTER_PROVE_CYCLES=", fmt.Sprintf("LIGHTER_SEED=%d", seed+try))
				if out, err = cmd.CombinedOutput(); err != nil {
					break
				}
			}
			switch said := string(out); {
			case err == nil:
				t.Errorf("LIGHTER_SEED=%d: %s passes, and with the next four", seed, m.tests)
			case !strings.Contains(said, "--- FAIL: "+m.tests):
				t.Errorf("%v:\n%.2000s", err, said)
			default:
				_, said, _ = strings.Cut(said, "_test.go:")
				t.Logf("caught: %.300s", said)
			}
		})
	}
}
