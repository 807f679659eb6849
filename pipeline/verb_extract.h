/* nightshift extract IMAGE -o CAT [-c FILE.sex] [--hdu N] [-KEY value]... */
#ifndef NIGHTSHIFT_PIPELINE_VERB_EXTRACT_H
#define NIGHTSHIFT_PIPELINE_VERB_EXTRACT_H

int extract_main(int argc, char **argv);

#endif
