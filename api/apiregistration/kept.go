package apiregistration

import (
	"bytes"

	"github.com/lighter-k8s/lighter/api"
)

// FromKept gives the stored form of an API service, as of all resources, from what upstream keeps, which is JSON. Source: what kube-apiserver
// 1.37 writes to etcd.
func FromKept(value []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(value, " \n"), []byte("{")) {
		return value, nil
	}
	obj, err := api.DecodeStored(APIService, value)
	if err != nil {
		return nil, err
	}
	return api.EncodeStored(APIService, obj)
}

// ToKept gives what upstream keeps of an API service from its stored form.
func ToKept(value []byte) ([]byte, error) {
	obj, err := api.DecodeStored(APIService, value)
	if err != nil {
		return nil, err
	}
	data, err := api.EncodeJSON(APIService, obj)
	return append(data, '\n'), err
}
