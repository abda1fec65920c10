// Command images makes the guestbook's images without Docker: the static front end in an image
// of its own, and Debian's redis-server with the libraries that it needs.
//
//	images -web BINARY -tag v1 -out web.tar
//	images -root DIR -program /usr/bin/redis-server -out redis.tar
package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"path"
	"path/filepath"

	"github.com/lighter-k8s/lighter/runtime/image"
)

func main() {
	web := flag.String("web", "", "static binary of the front end")
	root := flag.String("root", "", "folder with unpacked Debian packages")
	program := flag.String("program", "/usr/bin/redis-server", "program below -root")
	tag := flag.String("tag", "v1", "tag of the image")
	out := flag.String("out", "", "archive to write")
	flag.Parse()
	if err := run(*web, *root, *program, *tag, *out); err != nil {
		log.Fatal(err)
	}
}

func run(web, root, program, tag, out string) error {
	spec := image.Spec{}
	switch {
	case web != "":
		spec = image.Spec{Names: []string{"guestbook.example/web:" + tag}, Layers: []image.Layer{image.Program("/web", web)},
			Entrypoint: []string{"/web"}, User: "65532:65532", ExposedPorts: []string{"8080/tcp"}}
	case root != "":
		files, err := closure(root, program)
		if err != nil {
			return err
		}
		files["/data"] = image.File{Mode: fs.ModeDir | 0o755, UID: 999, GID: 999}
		spec = image.Spec{Names: []string{"guestbook.example/redis:" + tag}, Layers: []image.Layer{{Files: files}},
			Entrypoint: []string{program}, User: "999:999", WorkingDir: "/data", ExposedPorts: []string{"6379/tcp"}}
	default:
		return errors.New("give -web or -root")
	}
	return image.WriteFile(out, spec)
}

// closure collects a program and, from the folders where Debian keeps them, all libraries that it needs.
func closure(root, program string) (map[string]image.File, error) {
	files := map[string]image.File{}
	todo := []string{program}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if _, ok := files[at]; ok {
			continue
		}
		from, err := filepath.EvalSymlinks(filepath.Join(root, at))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		files[at] = image.File{From: from, Mode: 0o755}
		f, err := elf.Open(from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		needed, err := f.ImportedLibraries()
		interpreter := f.Section(".interp")
		if interpreter != nil {
			data, err := interpreter.Data()
			if err != nil {
				return nil, err
			}
			needed = append(needed, path.Base(string(data[:len(data)-1])))
			name := string(data[:len(data)-1])
			loader, err := find(root, path.Base(name))
			if err != nil {
				return nil, err
			}
			files[name] = image.File{From: filepath.Join(root, loader), Mode: 0o755}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		for _, lib := range needed {
			where, err := find(root, lib)
			if err != nil {
				return nil, err
			}
			todo = append(todo, where)
		}
	}
	return files, nil
}

// find looks a library up below root.
func find(root, lib string) (string, error) {
	for _, pattern := range []string{"/lib/*-linux-gnu*/", "/usr/lib/*-linux-gnu*/", "/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/"} {
		matches, err := filepath.Glob(filepath.Join(root, pattern, lib))
		if err != nil {
			return "", err
		}
		if len(matches) > 0 {
			rel, err := filepath.Rel(root, matches[0])
			return "/" + rel, err
		}
	}
	return "", fmt.Errorf("no package holds %s", lib)
}
