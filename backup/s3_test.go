package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/backup/backuptest"
	"github.com/lighter-k8s/lighter/store/memory"
)

func TestBucket(t *testing.T) {
	endpoint := backuptest.StartS3(t, "backups")
	b, err := backup.NewBucket("s3://backups/my shop/eu", endpoint, "")
	if err != nil {
		t.Fatal(err)
	}
	if all, err := b.List(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("an empty bucket: %v, %v", all, err)
	}
	s := filled(t, 500)
	for i := range 3 {
		where, info, err := backup.Keep(t.Context(), b, t.TempDir(), func(sum backup.Summary) string { return backup.Name(time.Unix(int64(i), 0), sum.Revision, true) },
			func(w io.Writer) error {
				_, err := backup.Save(context.Background(), s, w, backup.Manifest{Engine: "memory"}, nil, nil)
				return err
			})
		if err != nil || info.Entries != 500 || where != fmt.Sprintf("s3://backups/my shop/eu/scheduled-19700101T00000%dZ-r500.backup", i) {
			t.Fatalf("%s, %+v, %v", where, info, err)
		}
	}
	all, err := b.List(t.Context())
	if err != nil || len(all) != 3 || all[0].Size == 0 || all[0].Time.IsZero() {
		t.Fatalf("%v, %v", all, err)
	}
	if err := b.Remove(t.Context(), all[0].Name); err != nil {
		t.Error(err)
	}
	r, err := b.Get(t.Context(), all[1].Name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := backup.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if at, err := memory.New().Restore(t.Context(), f, 0); err != nil || at <= 500 {
		t.Errorf("%d, %v", at, err)
	}
	r.Close()
	if _, err := b.Get(t.Context(), all[0].Name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that was removed: %v", err)
	}
	other, err := backup.NewBucket("s3://none", endpoint, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.List(t.Context()); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Errorf("a bucket that is not there: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
	if b, err = backup.NewBucket("s3://backups", endpoint, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := b.List(t.Context()); err == nil || !strings.Contains(err.Error(), "Signature") {
		t.Errorf("a wrong key: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := backup.NewBucket("s3://backups", endpoint, ""); err == nil || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
		t.Errorf("no key: %v", err)
	}
}
