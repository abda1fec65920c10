package backup

import "errors"

// NewBucket is a shelf in an S3 bucket.
func NewBucket(url, endpoint, region string) (Shelf, error) { return nil, errors.New("not yet") }
