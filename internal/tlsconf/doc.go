// Package tlsconf holds the credentials of xds-server's listeners: a key pair
// and a client CA from files, read again when they change, and the rule by
// which a client certificate speaks for a service. Issuing certificates is not
// Meshlite's: whatever writes the files (cert-manager, Vault, spiffe-helper)
// may replace them at any time.
package tlsconf
