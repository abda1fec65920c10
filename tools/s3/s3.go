// Package s3 pins the S3 server that the tests of backups run: versitygw, unmodified, on a folder. It is a module of its
// own because nothing that is carried or linked needs its dependencies; `make bin/versitygw` builds it, in two minutes of CPU,
// and `make prove` does so by itself.
package s3
