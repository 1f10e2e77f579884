"""A program that passes for Microsoft Edge, as no registry has the real one.

It starts Chromium and stands between it and the pipe: the browser's own pages are at `edge:`, and its product is Edge's.
"""

from pathlib import Path

from tests.support.real_browsers import chrome_program

# Perl, which every Debian has: the browser's user cannot enter the folder of the tests' own interpreter.
_PROGRAM = r"""#!/usr/bin/perl
use strict;
use IO::Select;

# The browser inherits its ends of the pipes.
$^F = 255;
pipe(my $to_read, my $to_write) or die;
pipe(my $from_read, my $from_write) or die;
open(my $in, '<&=', 3) or die;
open(my $out, '>&=', 4) or die;
my $child = fork();
die unless defined $child;
if ($child == 0) {
    close($_) for ($to_write, $from_read);
    my ($read, $write) = (fileno($to_read), fileno($from_write));
    exec('/bin/bash', '-c', "exec \"\$@\" 3<&$read 4>&$write", 'bash', 'PROGRAM', @ARGV);
}
close($to_read);
close($from_write);
my %other = (fileno($in) => $to_write, fileno($from_read) => $out);
my %held;
my $select = IO::Select->new($in, $from_read);
while (1) {
    for my $ready ($select->can_read) {
        my $number = fileno($ready);
        exit 0 unless sysread($ready, $held{$number}, 65536, length($held{$number} // ''));
        while ((my $end = index($held{$number}, "\0")) >= 0) {
            my $message = substr($held{$number}, 0, $end + 1, '');
            if ($number == fileno($in)) {
                $message =~ s/chrome:/nothing:/g;
                $message =~ s/edge:/chrome:/g;
            } else {
                $message =~ s/"product":"Chrome\//"product":"Edg\//;
            }
            my $done = 0;
            $done += syswrite($other{$number}, $message, length($message) - $done, $done)
                while $done < length($message);
        }
    }
}
"""


def write_msedge(folder: Path) -> Path:
    """Put the program into `folder` and return its path. Blocks."""
    program = folder / "msedge"
    program.write_text(_PROGRAM.replace("PROGRAM", str(chrome_program())))
    program.chmod(0o755)
    return program
