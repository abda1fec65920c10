package role

import (
	"context"
	"crypto"

	"github.com/lighter-k8s/lighter/pki"
)

// useGiven opens what others look after of the API's certificate and of clients' authorities.
func (s *Server) useGiven() (err error) {
	g := s.Config.Server.Given
	if g.ClientCA != "" {
		if s.clients, s.clientsPEM, err = pki.ReadCertificates(g.ClientCA); err != nil {
			return err
		}
	}
	if g.Cert == "" {
		return nil
	}
	if s.given, err = pki.OpenGiven(g.Cert, g.Key); err == nil {
		s.runs = append(s.runs, func(ctx context.Context) error { return s.given.Run(ctx, s.Log) })
	}
	return err
}

// givenTokenKeys are the user's own keys of service account tokens; nil: there are none.
func (s *Server) givenTokenKeys() (signer crypto.Signer, verify []crypto.PublicKey, err error) {
	g := s.Config.Server.Given
	if g.TokenKey == "" {
		return nil, nil, nil
	}
	if signer, err = pki.ReadSigner(g.TokenKey); err != nil {
		return nil, nil, err
	}
	for _, file := range g.TokenKeys {
		keys, err := pki.ReadPublicKeys(file)
		if err != nil {
			return nil, nil, err
		}
		verify = append(verify, keys...)
	}
	return signer, verify, nil
}
