# A Homebrew formula. Only read so far: there is no Homebrew where this was written. URL and SHA256 are those of
# the release's sshs.js, from its SHA256SUMS.
class Sshs < Formula
  desc "ssh with connection sharing that needs no setup"
  homepage "HOMEPAGE"
  url "BASE/sshs.js"
  sha256 "SHA256"
  license "MIT"

  depends_on "deno"

  def install
    ENV["SHELL"] = "/bin/sh"
    system formula_deno, "run", "--no-config", "--allow-all", "sshs.js", "--install", "--prefix", prefix
    # Homebrew removes it, not sshs. Its links of ssh, scp and sftp would hide the system's for everybody.
    rm lib/"sshs/made"
    %w[ssh scp sftp].each { |name| rm bin/name }
    (lib/"sshs/program").atomic_write <<~SH
      sshs_deno='#{formula_deno}'
      sshs_program='#{opt_lib}/sshs/sshs.js'
    SH
    inreplace Dir[lib/"sshs/bin/*"], /^sshs_lib=.*$/, "sshs_lib='#{opt_lib}/sshs'"
  end

  def formula_deno
    Formula["deno"].opt_bin/"deno"
  end

  def caveats
    <<~TEXT
      To share the connections of ssh, scp and sftp, add to your shell's startup file:
        export PATH="#{opt_lib}/sshs/bin:$PATH"
    TEXT
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/sshs --version")
    assert_match "port 77", shell_output("#{opt_lib}/sshs/bin/ssh -G -p 77 somewhere")
  end
end
